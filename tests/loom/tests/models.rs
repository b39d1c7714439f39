//! Each model, explored to its end.

#[test]
fn a_fenced_close_lets_nothing_through() {
    openmic_loom::a_fenced_close_lets_nothing_through();
}

#[test]
fn an_overtaken_open_never_opens() {
    openmic_loom::an_overtaken_open_never_opens();
}

#[test]
fn every_change_has_its_own_epoch() {
    openmic_loom::every_change_has_its_own_epoch();
}

#[test]
fn an_open_gate_tells_its_moment() {
    openmic_loom::an_open_gate_tells_its_moment();
}

#[test]
fn whoever_leaves_word_is_heard() {
    openmic_loom::whoever_leaves_word_is_heard();
}
