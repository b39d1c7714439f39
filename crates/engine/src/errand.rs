//! Errands: requests of the bot that the engine passes on, and the operations they began.

use std::collections::VecDeque;
use std::fmt;

use openmic_model::{CommandId, Operation, OperationId};
use openmic_wire::operation;
use openmic_wire::resource::Resource;
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use serde_json::{Map, Value};

/// Operations kept per call; the oldest that is finished is forgotten first, else the oldest.
const KEPT: usize = 256;
/// Longest operation that is kept as it came, in bytes of JSON. Of a longer one the members that
/// every operation has are kept.
const LONGEST: usize = 4096;

/// What Graph answered to an errand it took. The body may hold names and the token of a recording;
/// its `Debug` shows none of it.
#[derive(Clone, PartialEq)]
pub struct Passed {
    /// HTTP status, 2xx.
    pub status: u16,
    /// What of the call can be read about it, an operation as a rule.
    pub resource: Option<Resource>,
    /// The answer with whatever members it has; `None` for an empty one.
    pub body: Option<Map<String, Value>>,
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed")
            .field("status", &self.status)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// The operations that errands on one call began. Their ids are Graph's.
#[derive(Debug, Default)]
pub(crate) struct Errands(
    /// None before the first errand.
    Mutex<Option<Box<Book>>>,
);

#[derive(Debug, Default)]
struct Book {
    kept: VecDeque<Entry>,
    /// Errands whose answer is not there yet.
    under_way: usize,
}

struct Entry {
    id: OperationId,
    operation: Operation,
    body: Map<String, Value>,
    /// An errand was answered with it; else it was only told of while one was under way.
    answered: bool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("status", &self.operation.status)
            .finish_non_exhaustive()
    }
}

/// An errand that is not answered yet. Meanwhile notifications of operations that nobody knows
/// are kept: they may beat the answer.
pub(crate) struct UnderWay<'a>(&'a Errands);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.book().under_way -= 1;
    }
}

impl Errands {
    fn book(&self) -> MappedMutexGuard<'_, Book> {
        MutexGuard::map(self.0.lock(), |book| &mut **book.get_or_insert_default())
    }

    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.book().under_way += 1;
        UnderWay(self)
    }

    /// Takes in an operation as Graph answered it.
    pub(crate) fn answered(&self, body: &Map<String, Value>) {
        let operation = operation::from_object(body);
        let Some(id) = operation.id.clone() else {
            return;
        };
        self.book().keep(id, operation, body).answered = true;
    }

    /// Takes in an operation as a GET showed it, when it is one of these.
    pub(crate) fn read(&self, id: &OperationId, body: &Map<String, Value>) {
        let mut book = self.book();
        if book.find(id).is_some() {
            book.keep(id.clone(), operation::from_object(body), body);
        }
    }

    /// Takes in a notification. True when it is of one of these operations for sure.
    pub(crate) fn noted(&self, notice: &Operation) -> bool {
        let mut book = self.0.lock();
        let Some(book) = &mut *book else {
            return false;
        };
        if let Some(entry) = book.of_notice(notice) {
            entry.advance(notice);
            return entry.answered;
        }
        let context = notice.client_context.as_ref();
        let own = context.is_some_and(|context| CommandId::from_context(context).is_some());
        if book.under_way > 0
            && !own
            && let Some(id) = notice.id.clone()
        {
            book.keep(id, notice.clone(), &operation::to_object(notice));
        }
        false
    }

    /// A finished operation as it was last seen.
    pub(crate) fn finished(&self, id: &OperationId) -> Option<Map<String, Value>> {
        let mut book = self.0.lock();
        let entry = book.as_mut()?.find(id)?;
        let over = entry.operation.status.is_final();
        over.then(|| entry.body.clone())
    }
}

impl Book {
    fn find(&mut self, id: &OperationId) -> Option<&mut Entry> {
        self.kept.iter_mut().rev().find(|entry| entry.id == *id)
    }

    /// Notifications may leave the id out; then the context tells, as long as it runs.
    fn of_notice(&mut self, notice: &Operation) -> Option<&mut Entry> {
        if let Some(id) = &notice.id {
            return self.find(id);
        }
        notice.client_context.as_ref()?;
        self.kept.iter_mut().rev().find(|entry| {
            !entry.operation.status.is_final()
                && entry.operation.client_context == notice.client_context
        })
    }

    fn keep(
        &mut self,
        id: OperationId,
        mut operation: Operation,
        body: &Map<String, Value>,
    ) -> &mut Entry {
        operation.id = Some(id.clone());
        let length = serde_json::to_vec(body).map_or(usize::MAX, |bytes| bytes.len());
        let body = if length > LONGEST {
            let mut short = operation::to_object(&operation);
            if let Some(kind) = body.get("@odata.type").filter(|kind| kind.is_string()) {
                short.insert("@odata.type".to_owned(), kind.clone());
            }
            short
        } else {
            body.clone()
        };
        if let Some(at) = self.kept.iter().rposition(|entry| entry.id == id) {
            let entry = &mut self.kept[at];
            let before = std::mem::replace(&mut entry.operation, operation);
            entry.body = body;
            entry.advance(&before);
            return entry;
        }
        if self.kept.len() >= KEPT {
            let over = |entry: &Entry| entry.operation.status.is_final();
            let at = self.kept.iter().position(over).unwrap_or(0);
            self.kept.remove(at);
        }
        let last = self.kept.len();
        self.kept.push_back(Entry {
            id,
            operation,
            body,
            answered: false,
        });
        &mut self.kept[last]
    }
}

impl Entry {
    /// What is final stays so, whatever comes late.
    fn advance(&mut self, news: &Operation) {
        let (held, told) = (self.operation.status, news.status);
        if held.is_final() || (held == told && news.result.is_none()) {
            return;
        }
        self.operation.status = told;
        self.operation.result.clone_from(&news.result);
        operation::update(&mut self.body, news);
    }
}

#[cfg(test)]
mod tests {
    use openmic_model::{ClientContext, OperationStatus};
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else {
            panic!("{value} is no object");
        };
        object
    }

    fn id(raw: &str) -> OperationId {
        OperationId::parse(raw).unwrap()
    }

    fn notice(id: Option<&str>, context: Option<&str>, status: OperationStatus) -> Operation {
        Operation {
            id: id.map(|id| OperationId::parse(id).unwrap()),
            status,
            client_context: context.map(|raw| ClientContext::parse(raw).unwrap()),
            result: None,
        }
    }

    #[test]
    fn an_operation_ends_by_its_notification_and_keeps_its_members() {
        let errands = Errands::default();
        errands.answered(&object(
            json!({"id": "o1", "status": "Running", "participants": []}),
        ));
        assert_eq!(errands.finished(&id("o1")), None);
        let done = notice(Some("o1"), None, OperationStatus::Completed);
        assert!(errands.noted(&done));
        let kept = errands.finished(&id("o1")).unwrap();
        assert_eq!(kept["status"], "completed");
        assert_eq!(kept["participants"], json!([]));
        // What comes late does not bring it back.
        assert!(errands.noted(&notice(Some("o1"), None, OperationStatus::Running)));
        errands.read(&id("o1"), &object(json!({"id": "o1", "status": "running"})));
        assert_eq!(errands.finished(&id("o1")).unwrap()["status"], "completed");
    }

    #[test]
    fn a_notification_that_beats_the_answer_counts() {
        let errands = Errands::default();
        let done = notice(Some("o1"), Some("ctx"), OperationStatus::Completed);
        assert!(!errands.noted(&done), "nothing is under way");
        assert_eq!(errands.finished(&id("o1")), None);

        let under_way = errands.begin();
        // It may as well be of the engine's own mute: the machine sees it too.
        assert!(!errands.noted(&done));
        let own = CommandId::new(7).context(1);
        let own = notice(Some("mine"), Some(own.as_str()), OperationStatus::Completed);
        assert!(!errands.noted(&own));
        errands.answered(&object(
            json!({"id": "o1", "status": "running", "clientContext": "ctx", "new": 1}),
        ));
        drop(under_way);
        let kept = errands.finished(&id("o1")).unwrap();
        assert_eq!(
            (&kept["status"], &kept["new"]),
            (&json!("completed"), &json!(1))
        );
        assert_eq!(errands.finished(&id("mine")), None);
        assert_eq!(errands.book().under_way, 0);
    }

    #[test]
    fn an_operation_that_no_errand_was_answered_with_may_be_the_engines_own() {
        let errands = Errands::default();
        let under_way = errands.begin();
        let own = |status| notice(Some("mute"), None, status);
        assert!(!errands.noted(&own(OperationStatus::Running)));
        assert!(!errands.noted(&own(OperationStatus::Completed)));
        errands.answered(&object(json!({"id": "o1", "status": "running"})));
        drop(under_way);
        assert!(!errands.noted(&own(OperationStatus::Completed)));
        assert!(errands.noted(&notice(Some("o1"), None, OperationStatus::Completed)));
    }

    #[test]
    fn a_notification_without_an_id_is_told_by_its_context() {
        let errands = Errands::default();
        for name in ["o1", "o2"] {
            errands.answered(&object(
                json!({"id": name, "status": "running", "clientContext": name}),
            ));
        }
        assert!(errands.noted(&notice(None, Some("o1"), OperationStatus::Failed)));
        assert_eq!(errands.finished(&id("o1")).unwrap()["status"], "failed");
        assert_eq!(errands.finished(&id("o2")), None);
        assert!(!errands.noted(&notice(None, None, OperationStatus::Failed)));
    }

    #[test]
    fn the_book_is_bounded_in_number_and_in_length() {
        let errands = Errands::default();
        let add = |number: usize, status: &str| {
            errands.answered(&object(
                json!({"id": format!("o{number}"), "status": status}),
            ));
        };
        add(0, "running");
        add(1, "completed");
        for number in 2..=KEPT {
            add(number, "completed");
        }
        assert_eq!(errands.book().kept.len(), KEPT);
        assert_eq!(errands.finished(&id("o1")), None, "the oldest finished one");
        assert!(errands.noted(&notice(Some("o0"), None, OperationStatus::Completed)));

        let long = "x".repeat(LONGEST);
        errands.answered(&object(
            json!({"@odata.type": "#microsoft.graph.recordOperation",
            "id": "long", "status": "completed", "recordingLocation": long}),
        ));
        let kept = errands.finished(&id("long")).unwrap();
        assert_eq!(kept["@odata.type"], "#microsoft.graph.recordOperation");
        assert!(!kept.contains_key("recordingLocation"));
    }

    #[test]
    fn what_an_operation_holds_is_not_shown() {
        let body =
            object(json!({"id": "o1", "status": "completed", "recordingAccessToken": "hush"}));
        let errands = Errands::default();
        errands.answered(&body);
        let passed = Passed {
            status: 200,
            resource: None,
            body: Some(body),
        };
        for shown in [format!("{errands:?}"), format!("{passed:?}")] {
            assert!(!shown.contains("hush"), "{shown}");
        }
    }
}
