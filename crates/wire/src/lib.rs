//! Graph's JSON twins of the model and the conversions between them.
