mod rig;

mod answering;
mod attempts;
mod chaos;
mod diagram;
mod intents;
mod ledger;
mod lifecycle;
mod records;
mod recovery;
mod roster;
mod rumour;
mod sim;
mod table;
mod verdicts;
mod window;
