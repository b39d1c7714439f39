mod rig;

mod answering;
mod attempts;
mod chaos;
mod diagram;
mod intents;
mod lifecycle;
mod roster;
mod sim;
mod table;
mod verdicts;
