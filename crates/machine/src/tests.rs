mod rig;

mod attempts;
mod diagram;
mod intents;
mod lifecycle;
mod roster;
mod sim;
mod table;
mod verdicts;
