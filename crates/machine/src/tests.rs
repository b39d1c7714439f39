mod rig;

mod diagram;
mod table;
