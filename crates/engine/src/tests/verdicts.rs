//! Every row of the verdict table (design §4) through the actor and HTTP. A module is named after
//! its row's verdict, a test after the row's facts and the order in which they came.

mod confirmed;
mod other;
mod unconfirmed;
