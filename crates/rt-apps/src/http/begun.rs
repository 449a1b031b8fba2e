//! A proxy's own request in the record: it ends once, whatever happens.

use rt_base::{AppRecord, ReqId};

use crate::net::Net;

/// A request whose end must be said, also when the client goes away in the middle of it.
pub(crate) struct Begun {
    net: Net,
    req: ReqId,
    /// Its end was said, or the response's body will say it.
    over: bool,
}

impl Begun {
    pub(crate) fn new(net: &Net, req: ReqId) -> Begun {
        Begun { net: net.clone(), req, over: false }
    }

    pub(crate) const fn req(&self) -> ReqId {
        self.req
    }

    /// Somebody else says the end.
    pub(crate) const fn handed_on(&mut self) {
        self.over = true;
    }

    /// It ended with a response that was taken whole.
    pub(crate) fn taken(&mut self, status: u16, body_bytes: u64, note: &str) {
        let (req, note) = (self.req, note.to_owned());
        self.net.say(AppRecord::RequestEnd { req, status, ok: true, body_bytes, note });
        self.over = true;
    }

    /// It ended without a response.
    pub(crate) fn end(&mut self, status: u16, note: &str) {
        let (req, note) = (self.req, note.to_owned());
        self.net.say(AppRecord::RequestEnd { req, status, ok: false, body_bytes: 0, note });
        self.over = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.over {
            self.end(0, "the client went away");
        }
    }
}
