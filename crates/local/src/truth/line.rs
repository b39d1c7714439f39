//! A line as JSON. Four are written for each command, so by hand: derived it takes twice as long.

use openmic_model::{CallId, ClientContext, OperationId, ParticipantId};
use serde::Serialize;

use super::{Fact, Told};

/// The members of one object, each behind a comma.
pub(super) struct Members<'a>(pub(super) &'a mut Vec<u8>);

impl Members<'_> {
    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.value(value);
    }

    /// A text without anything that must be escaped: a word or a GUID of ours, or an id.
    pub(super) fn plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn plain_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.plain(name, value);
        }
    }

    fn text_if(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn value(&mut self, value: &str) {
        // Without a way out, so that many bytes are looked at at a time.
        let odd =
            |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
        if value.bytes().fold(0, |any, byte| any | odd(byte)) == 0 {
            self.quoted(value);
        } else {
            let written = serde_json::to_writer(&mut *self.0, value);
            written.expect("memory takes a string");
        }
    }

    fn quoted(&mut self, value: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    pub(super) fn number(&mut self, name: &str, value: impl Serialize) {
        self.name(name);
        let written = serde_json::to_writer(&mut *self.0, &value);
        written.expect("memory takes a number");
    }

    fn number_if(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    fn ids<'t>(&mut self, name: &str, values: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.0.push(b'[');
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            self.quoted(value);
        }
        self.0.push(b']');
    }

    /// What kind of line it is, and what it says.
    pub(super) fn fact(&mut self, fact: &Fact<'_>) {
        match fact {
            Fact::Started { format, base_url } => {
                self.plain("what", "started");
                self.number("format", format);
                self.text("baseUrl", base_url);
            }
            Fact::Asked {
                request,
                act,
                call,
                participant,
                client_context,
            } => {
                self.plain("what", "asked");
                self.plain("request", request);
                self.plain("act", act.as_str());
                self.text_if("call", *call);
                self.text_if("participant", *participant);
                self.text_if("clientContext", client_context.map(ClientContext::as_str));
            }
            Fact::Effect {
                act,
                by,
                call,
                participant,
                changed,
                request,
                operation,
                client_context,
            } => {
                self.plain("what", "effect");
                self.plain("act", act.as_str());
                self.plain("by", by.as_str());
                self.plain_if("call", call.map(CallId::as_str));
                self.plain("participant", participant.as_str());
                self.name("changed");
                let changed: &[u8] = if *changed { b"true" } else { b"false" };
                self.0.extend_from_slice(changed);
                self.plain_if("request", *request);
                self.plain_if("operation", operation.map(OperationId::as_str));
                self.text_if("clientContext", client_context.map(ClientContext::as_str));
            }
            Fact::Life {
                act,
                call,
                participant,
                request,
                code,
                subcode,
            } => {
                self.plain("what", "effect");
                self.plain("act", act.as_str());
                self.plain("call", call.as_str());
                self.plain_if("participant", participant.map(ParticipantId::as_str));
                self.plain_if("request", *request);
                self.number_if("code", *code);
                self.number_if("subcode", *subcode);
            }
            Fact::Answered {
                request,
                status,
                code,
            } => {
                self.plain("what", "answered");
                self.plain("request", request);
                self.number_if("status", *status);
                self.text_if("code", *code);
            }
            Fact::Fault {
                fault,
                on,
                call,
                by,
            } => {
                self.plain("what", "fault");
                self.text("fault", fault);
                self.text("on", on);
                self.plain_if("call", call.map(CallId::as_str));
                self.text("by", by);
            }
            Fact::Told {
                call,
                told,
                message,
                result,
                attempts,
            } => {
                self.plain("what", "told");
                self.plain("call", call.as_str());
                self.told(told);
                self.plain("message", message);
                self.plain("result", result);
                self.number("attempts", attempts);
            }
        }
    }

    fn told(&mut self, told: &Told<'_>) {
        match told {
            Told::Call { state } => {
                self.plain("of", "call");
                self.plain("state", state);
            }
            Told::Operation {
                operation,
                status,
                client_context,
            } => {
                self.plain("of", "operation");
                self.plain_if("operation", operation.map(OperationId::as_str));
                self.plain("status", status);
                self.text_if("clientContext", client_context.map(ClientContext::as_str));
            }
            Told::Roster {
                sequence_number,
                entries,
                muted,
            } => {
                self.plain("of", "roster");
                self.number_if("sequenceNumber", *sequence_number);
                self.number("entries", entries);
                self.ids("muted", muted.iter().map(|id| id.as_str()));
            }
        }
    }
}
