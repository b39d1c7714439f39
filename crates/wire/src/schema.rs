//! The schemas of what this crate reads and writes, for the contract documents.
//!
//! They are derived from the twins and from the tables that decoding uses, so that a member has
//! one name in one place. Schemas are open: clients should expect members they do not know.

use openmic_model::OperationStatus;
use serde_json::{Value, json};
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema};

use crate::operation::{Casing, status_word};
use crate::shape::{Kind, Member};
use crate::{action, answer, call, create, error, invite, operation, participant};

/// A schema and the name it is referred to by.
pub type Named = (String, RefOr<Schema>);

/// All of them.
pub fn schemas() -> Vec<Named> {
    let mut all = Vec::new();
    named::<error::Envelope<'_>>(&mut all);
    named::<operation::OperationJson<'_>>(&mut all);
    named::<participant::List<'_>>(&mut all);
    named::<action::Twin<'_>>(&mut all);
    all.push(("CommsOperation".to_owned(), any_operation()));
    all.push(("InviteParticipants".to_owned(), invite().into()));
    all.push(("MuteAll".to_owned(), mute_all().into()));
    all.push(("Errand".to_owned(), errand().into()));
    all.push(("CreateCall".to_owned(), create_call().into()));
    all.push(("AnswerCall".to_owned(), answer_call().into()));
    all.push(("RejectCall".to_owned(), reject_call().into()));
    all.push(("Call".to_owned(), call().into()));
    all.push(("Notifications".to_owned(), notifications().into()));
    all
}

fn named<T: ToSchema>(all: &mut Vec<Named>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

/// A string of these words.
fn words(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
}

/// `status` of an operation, in both spellings Graph was seen to use.
pub(crate) fn operation_status() -> Object {
    let all = [
        OperationStatus::NotStarted,
        OperationStatus::Running,
        OperationStatus::Completed,
        OperationStatus::Failed,
    ];
    let spelt = |casing| all.map(|status| status_word(status, casing));
    words([spelt(Casing::Camel), spelt(Casing::Pascal)].concat()).build()
}

/// An operation of Graph's: what it leaves out may be missing.
fn any_operation() -> RefOr<Schema> {
    let mut schema = operation::OperationJson::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.required.clear();
        object.properties.remove("resultInfo");
        object.description = Some("What Graph says of something it was asked for.".to_owned());
    }
    schema
}

fn invite() -> Object {
    let whom = ObjectBuilder::new()
        .property("identity", not_null(Kind::Object(&[])))
        .required("identity");
    let whom = ArrayBuilder::new()
        .items(whom)
        .min_items(Some(1))
        .max_items(Some(invite::MAX_INVITED));
    with_participants(whom, "Whom to invite, by identity sets with an id each.")
}

fn mute_all() -> Object {
    let whom = ArrayBuilder::new()
        .items(ObjectBuilder::new().schema_type(Type::String))
        .min_items(Some(1));
    with_participants(whom, "Whom to mute, by their ids.")
}

fn with_participants(whom: ArrayBuilder, about: &str) -> Object {
    let mut object = errand();
    object
        .properties
        .insert("participants".to_owned(), whom.into());
    object.required.push("participants".to_owned());
    object.description = Some(about.to_owned());
    object
}

/// The body of what is passed on to Graph as it is.
fn errand() -> Object {
    let mut object = match action::Twin::schema() {
        RefOr::T(Schema::Object(object)) => object,
        _ => Object::new(),
    };
    object.description = Some(
        "What Graph documents for the action; `clientContext` is looked at, all is passed on."
            .to_owned(),
    );
    object
}

/// A member of `kind`, which may be null.
fn kind(kind: Kind) -> RefOr<Schema> {
    let or_null = |kind: Type| SchemaType::from_iter([kind, Type::Null]);
    match kind {
        Kind::Text => ObjectBuilder::new()
            .schema_type(or_null(Type::String))
            .into(),
        Kind::Words(all) => ObjectBuilder::new()
            .schema_type(or_null(Type::String))
            .enum_values(Some(
                all.iter()
                    .map(|word| Value::from(*word))
                    .chain([Value::Null]),
            ))
            .into(),
        Kind::Flag => ObjectBuilder::new()
            .schema_type(or_null(Type::Boolean))
            .into(),
        Kind::Object(members) => with(ObjectBuilder::new(), members)
            .schema_type(or_null(Type::Object))
            .into(),
        Kind::List(item) => ArrayBuilder::new()
            .schema_type(or_null(Type::Array))
            .items(not_null(*item))
            .into(),
    }
}

fn not_null(kind: Kind) -> RefOr<Schema> {
    match kind {
        Kind::Text => ObjectBuilder::new().schema_type(Type::String).into(),
        Kind::Words(all) => words(all.iter().copied()).into(),
        Kind::Flag => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        Kind::Object(members) => with(ObjectBuilder::new(), members).into(),
        Kind::List(item) => ArrayBuilder::new().items(not_null(*item)).into(),
    }
}

fn with(mut object: ObjectBuilder, members: &[Member]) -> ObjectBuilder {
    for member in members {
        let mut schema = kind(member.kind);
        describe(&mut schema, member.about);
        object = object.property(member.name, schema);
    }
    object
}

fn describe(schema: &mut RefOr<Schema>, about: &str) {
    let text = (!about.is_empty()).then(|| about.to_owned());
    match schema {
        RefOr::T(Schema::Object(object)) => object.description = text,
        RefOr::T(Schema::Array(array)) => array.description = text,
        _ => {}
    }
}

fn create_call() -> Object {
    let mut object = with(ObjectBuilder::new(), create::MEMBERS);
    for (name, kind) in create::REQUIRED {
        object = object.property(*name, not_null(*kind)).required(*name);
    }
    object
        .description(Some(
            "A call to make or a meeting to join: by chatInfo and meetingInfo, by \
             meetingInfo.joinMeetingId, or by targets. Members that are not named here are kept.",
        ))
        .examples([create_example()])
        .build()
}

fn answer_call() -> Object {
    let (media, kind) = answer::REQUIRED;
    with(ObjectBuilder::new(), answer::MEMBERS)
        .property(media, not_null(kind))
        .required(media)
        .description(Some("How a call that rings is answered."))
        .build()
}

fn reject_call() -> Object {
    with(ObjectBuilder::new(), answer::REJECT)
        .description(Some("Why a call that rings is rejected."))
        .build()
}

/// A create that joins a meeting.
pub fn create_example() -> Value {
    json!({
        "@odata.type": "#microsoft.graph.call",
        "callbackUri": "http://127.0.0.1:9441/callbacks",
        "requestedModalities": ["audio"],
        "mediaConfig": {"@odata.type": "#microsoft.graph.appHostedMediaConfig", "blob": ""},
        "chatInfo": {
            "@odata.type": "#microsoft.graph.chatInfo",
            "threadId": "19:meeting_MjAyNi0xMS0yNQ@thread.v2",
            "messageId": "0",
        },
        "meetingInfo": {
            "@odata.type": "#microsoft.graph.organizerMeetingInfo",
            "organizer": {"user": {"id": "33333333-3333-4333-8333-333333333333"}},
        },
        "tenantId": "11111111-1111-4111-8111-111111111111",
    })
}

fn call() -> Object {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let text_or_null =
        || ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    let ref_or_null = |name: &str| {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(name))
            .item(ObjectBuilder::new().schema_type(Type::Null))
    };
    let media_state: &[Member] = &[
        Member {
            name: "@odata.type",
            kind: Kind::Text,
            about: "",
        },
        Member {
            name: "audio",
            kind: Kind::Text,
            about: "`active` or `inactive`.",
        },
    ];
    let mut object = with(ObjectBuilder::new(), create::MEMBERS);
    let states = call::STATES.iter().map(|(word, _)| *word);
    for name in ["callRoutes", "toneInfo"] {
        object = object.property(name, ObjectBuilder::new().schema_type(SchemaType::AnyValue));
    }
    for (name, schema) in [
        ("@odata.type", text()),
        (
            "id",
            text().description(Some("Names the call in every path.")),
        ),
        ("state", words(states)),
    ] {
        object = object.property(name, schema).required(name);
    }
    object
        .property("@odata.context", text())
        .property("direction", words(["incoming", "outgoing"]))
        .property("callChainId", text_or_null())
        .property(
            "myParticipantId",
            text_or_null().description(Some("The bot's own entry among the participants.")),
        )
        .property("resultInfo", ref_or_null("ResultInfo"))
        .property(
            "mediaState",
            with(ObjectBuilder::new(), media_state)
                .schema_type(SchemaType::from_iter([Type::Object, Type::Null])),
        )
        .description(Some("A call, as its service shows it."))
        .build()
}

/// What a webhook takes. Entries are read leniently, so nothing but the frame is demanded.
fn notifications() -> Object {
    let entry = ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some(
            "A commsNotification: changeType, resource, and resourceData with a call, an \
             operation or participants.",
        ));
    ObjectBuilder::new()
        .property("value", ArrayBuilder::new().items(entry))
        .required("value")
        .description(Some("What Graph tells of calls: a commsNotifications."))
        .examples([json!({
            "@odata.type": "#microsoft.graph.commsNotifications",
            "value": [{
                "@odata.type": "#microsoft.graph.commsNotification",
                "changeType": "updated",
                "resource": "/app/calls/0c1f5e00",
                "resourceData": {
                    "@odata.type": "#microsoft.graph.call",
                    "id": "0c1f5e00",
                    "state": "established",
                },
            }],
        })])
        .build()
}

#[cfg(test)]
mod tests;
