//! Records to write.

use std::time::Duration;

use openmic_model::{
    Accepted, Action, AppId, Asked, CallId, CallIntent, CallKey, CallKind, ClientContext,
    CommandId, EndCause, Evidence, OperationId, Origin, Record, Repeat, RosterSeen, TenantId,
    Verdict, WallTime,
};

pub(crate) const AT: WallTime = WallTime(1_764_000_000_000);

pub(crate) fn key(number: u128) -> CallKey {
    CallKey(number)
}

pub(crate) fn call_id(number: u128) -> CallId {
    CallId::parse(&format!("call-{number}")).unwrap()
}

pub(crate) fn operation(command: u128) -> OperationId {
    OperationId::parse(&format!("operation-{command}")).unwrap()
}

pub(crate) fn scope(of: u8) -> [u8; 32] {
    [of; 32]
}

pub(crate) fn intent() -> Record {
    Record::Intent(Box::new(CallIntent {
        app: AppId::parse("app").unwrap(),
        tenant: TenantId::parse("tenant").unwrap(),
        kind: CallKind::Group,
        offered: None,
        join_muted: true,
        named: None,
        repeat: None,
    }))
}

pub(crate) fn opened(number: u128) -> Record {
    Record::Opened {
        id: call_id(number),
        kind: CallKind::Group,
        me: None,
    }
}

pub(crate) fn accepted(command: u128, repeat: Option<[u8; 32]>) -> Record {
    Record::Accepted(Box::new(Accepted {
        command: CommandId::new(command),
        action: Action::Unmute,
        origin: Origin::Bot,
        within: Duration::from_secs(30),
        speak_for: None,
        asked: Some(Asked {
            operation: operation(command),
            client_context: Some(ClientContext::parse("of the bot").unwrap()),
            repeat: repeat.map(|scope| Repeat {
                scope,
                print: [9; 32],
            }),
        }),
    }))
}

pub(crate) fn attempt(lead: u128, number: u8) -> Record {
    Record::Attempt {
        lead: CommandId::new(lead),
        number,
        action: Action::Unmute,
    }
}

pub(crate) fn confirmed() -> Verdict {
    Verdict::Confirmed {
        evidence: Evidence::Roster,
        roster: RosterSeen::Fresh,
    }
}

pub(crate) fn verdict(command: u128) -> Record {
    Record::Verdict {
        command: CommandId::new(command),
        action: Action::Unmute,
        verdict: confirmed(),
    }
}

pub(crate) fn closed() -> Record {
    Record::Closed {
        cause: EndCause::HungUp,
    }
}

/// All of them written at the same moment.
pub(crate) fn at(at: WallTime, records: &[Record]) -> Vec<(WallTime, Record)> {
    records.iter().map(|record| (at, record.clone())).collect()
}

/// The beginning of a call.
pub(crate) fn begun(number: u128) -> Vec<(WallTime, Record)> {
    at(AT, &[intent(), opened(number), Record::Epoch(1)])
}

/// The beginning of a call, and an unmute under way.
pub(crate) fn unmuting(number: u128, command: u128) -> Vec<(WallTime, Record)> {
    let mut records = begun(number);
    records.extend(at(AT, &[accepted(command, None), attempt(command, 1)]));
    records
}
