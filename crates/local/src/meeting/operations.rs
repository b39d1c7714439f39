use std::collections::VecDeque;

use openmic_model::{ClientContext, Operation, OperationId, OperationKind, OperationStatus};
use serde_json::Map;

use super::Record;

/// The operations of a call, the oldest first, bounded.
///
/// A bot that mutes and unmutes all day leaves thousands behind, nearly all of them completed. What is
/// kept of such a one is told from the others and lies beside them: records as they came, each with texts of
/// its own somewhere in memory, take four times as much and scatter whatever is allocated after them.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    kept: VecDeque<Kept>,
    /// The client contexts of the brief ones, one behind the other.
    contexts: VecDeque<u8>,
}

#[derive(Debug)]
enum Kept {
    Brief(Brief),
    Whole(Box<Record>),
}

/// A completed operation of which there is nothing else to say, with a GUID for its id.
#[derive(Debug)]
struct Brief {
    id: [u8; 16],
    kind: OperationKind,
    /// Bytes of its client context.
    context: Option<u16>,
}

impl Kept {
    fn new(record: Record) -> (Self, Option<ClientContext>) {
        let Record {
            kind,
            operation,
            extra,
        } = &record;
        let context = operation.client_context.clone();
        let length = context.as_ref().map(|text| text.as_str().len().try_into());
        let id = operation.id.as_ref().and_then(OperationId::to_guid);
        if operation.status == OperationStatus::Completed
            && operation.result.is_none()
            && extra.is_empty()
            && let (Some(id), Ok(length)) = (id, length.transpose())
        {
            let brief = Brief {
                id: id.to_be_bytes(),
                kind: *kind,
                context: length,
            };
            (Self::Brief(brief), context)
        } else {
            (Self::Whole(Box::new(record)), None)
        }
    }

    /// How many bytes of the contexts are its own.
    fn length(&self) -> usize {
        match self {
            Self::Brief(brief) => brief.context.unwrap_or_default().into(),
            Self::Whole(_) => 0,
        }
    }
}

impl Operations {
    pub(crate) fn keep(&mut self, record: Record, most: usize) {
        if self.kept.len() >= most.max(1)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.contexts.drain(..oldest.length());
        }
        let (kept, context) = Kept::new(record);
        self.kept.push_back(kept);
        if let Some(context) = context {
            self.contexts.extend(context.as_str().as_bytes());
        }
    }

    /// Puts the end of an operation in the place of its beginning, if that is still there. It began as one
    /// that runs, and stays whole.
    pub(super) fn replace(&mut self, record: &Record) {
        let id = &record.operation.id;
        let wholes = self.kept.iter_mut().rev().filter_map(|kept| match kept {
            Kept::Whole(held) => Some(held),
            Kept::Brief(_) => None,
        });
        if let Some(held) = wholes.into_iter().find(|held| held.operation.id == *id) {
            **held = record.clone();
        }
    }

    pub(crate) fn get(&self, id: &str) -> Option<Record> {
        let wanted = OperationId::parse(id).ok()?;
        let bits = wanted.to_guid().map(u128::to_be_bytes);
        let mut end = self.contexts.len();
        for kept in self.kept.iter().rev() {
            let start = end - kept.length();
            match kept {
                Kept::Brief(brief) if Some(brief.id) == bits => {
                    let context = self.contexts.range(start..end).copied().collect();
                    return Some(brief.record(wanted, context));
                }
                Kept::Whole(record) if record.operation.id.as_ref() == Some(&wanted) => {
                    return Some(Record::clone(record));
                }
                _ => end = start,
            }
        }
        None
    }
}

impl Brief {
    fn record(&self, id: OperationId, context: Vec<u8>) -> Record {
        let context = self.context.map(|_| {
            let text = String::from_utf8(context).expect("it came from a text");
            ClientContext::parse(&text).expect("it came from one")
        });
        Record {
            kind: self.kind,
            operation: Operation {
                id: Some(id),
                status: OperationStatus::Completed,
                client_context: context,
                result: None,
            },
            extra: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use openmic_model::{Action, ResultInfo};

    use super::*;

    fn record(number: u128, context: Option<&str>) -> Record {
        let operation = Operation {
            id: Some(OperationId::of_guid(number)),
            status: OperationStatus::Completed,
            client_context: context.map(|text| ClientContext::parse(text).unwrap()),
            result: None,
        };
        Record::new(Action::Unmute.into(), operation)
    }

    /// One after the other of each kind there is.
    fn some(number: u128) -> Record {
        let long = "é".repeat(256);
        let mut record = match number % 7 {
            0 => record(number, None),
            1 => record(number, Some("")),
            2 => record(number, Some(&long)),
            _ => record(number, Some(&number.to_string())),
        };
        match number % 7 {
            3 => record.operation.status = OperationStatus::Running,
            4 => {
                record.operation.status = OperationStatus::Failed;
                record.operation.result = Some(ResultInfo {
                    code: 500,
                    subcode: 9002,
                    message: None,
                });
            }
            5 => record.operation.id = OperationId::parse(&format!("op-{number}")).ok(),
            6 => drop(record.extra.insert("participants".to_owned(), [1].into())),
            _ => {}
        }
        record
    }

    fn id(record: &Record) -> &str {
        record.operation.id.as_ref().expect("it has one").as_str()
    }

    #[test]
    fn each_is_told_as_it_was_until_so_many_came_after_it() {
        let mut operations = Operations::default();
        for newest in 0..100 {
            operations.keep(some(newest), 20);
            for number in 0..=newest {
                let wanted = (number + 20 > newest).then(|| some(number));
                let found = operations.get(id(&some(number)));
                assert_eq!(found, wanted, "{number} of {newest}");
            }
        }
        assert_eq!(operations.get("another"), None);
    }

    #[test]
    fn an_end_takes_the_place_of_its_beginning() {
        let mut operations = Operations::default();
        for number in 0..10 {
            operations.keep(some(number), 20);
        }
        let mut ended = some(3);
        ended.operation.status = OperationStatus::Completed;
        operations.replace(&ended);
        assert_eq!(operations.get(id(&ended)), Some(ended));
        for number in [2, 4] {
            assert_eq!(operations.get(id(&some(number))), Some(some(number)));
        }
        // It takes none of the others' contexts along when it goes.
        for newest in 10..40 {
            operations.keep(some(newest), 20);
            let kept = operations.kept.iter().map(Kept::length);
            assert_eq!(operations.contexts.len(), kept.sum::<usize>());
            for number in 4..=newest {
                let wanted = (number + 20 > newest).then(|| some(number));
                assert_eq!(operations.get(id(&some(number))), wanted);
            }
        }
        // Of one that is not there.
        operations.replace(&some(94));
        assert_eq!(operations.get(id(&some(94))), None);
    }

    #[test]
    fn most_take_little() {
        let mut operations = Operations::default();
        for number in 0..1_000 {
            operations.keep(record(number, Some("u1.aaaaaaaaaaaaaaaaaaaaaaaaaa.1")), 100);
        }
        assert_eq!(operations.contexts.len(), 100 * 31);
        assert!(size_of::<Kept>() <= 24, "{}", size_of::<Kept>());
    }
}
