//! What each handshake message does to the session.

use super::*;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;
const END_OF_EARLY_DATA: u8 = 5;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const FINISHED: u8 = 20;
const CERTIFICATE_STATUS: u8 = 22;
const KEY_UPDATE: u8 = 24;

impl Session<'_> {
    /// Takes a whole message (head included) and says what it carries.
    pub(super) fn handshake(&mut self, side: Side, kind: u8, message: &[u8], mark: Mark) -> TlsMessageKind {
        let body = &message[4..];
        let what = match (kind, side) {
            (CLIENT_HELLO, Side::Client) => self.client_hello(body, message),
            (SERVER_HELLO, Side::Server) => self.server_hello(body, message),
            (FINISHED, _) => Some(self.finished(side, body, message, mark)),
            (KEY_UPDATE, _) => self.key_update(side, body),
            (NEW_SESSION_TICKET, _) => {
                // In 1.2 it is part of the handshake, in 1.3 it comes after.
                if !self.tls13 {
                    self.transcript.push(message);
                }
                handshake::new_session_ticket(body, self.tls13)
            }
            _ => {
                self.transcript.push(message);
                self.simple(side, kind, body)
            }
        };
        what.unwrap_or_else(|| {
            let note = format!("a handshake message of type {kind} that is malformed or out of place");
            self.problem(note.clone());
            TlsMessageKind::Other { kind, note }
        })
    }

    /// Messages that change little or nothing.
    fn simple(&mut self, side: Side, kind: u8, body: &[u8]) -> Option<TlsMessageKind> {
        match kind {
            ENCRYPTED_EXTENSIONS => {
                let (alpn, early_data) = handshake::encrypted_extensions(body)?;
                self.facts.alpn.clone_from(&alpn);
                self.facts.early_data = match (self.facts.early_data, early_data) {
                    (EarlyData::Offered, true) => EarlyData::Accepted,
                    (EarlyData::Offered, false) => EarlyData::Refused,
                    (other, _) => other,
                };
                Some(TlsMessageKind::EncryptedExtensions { alpn, early_data })
            }
            CERTIFICATE => {
                self.certificate_seen |= side == Side::Server;
                Some(TlsMessageKind::Certificate { chain: handshake::certificate(body, self.tls13)? })
            }
            CERTIFICATE_VERIFY => handshake::certificate_verify(body),
            END_OF_EARLY_DATA if side == Side::Client && self.halves[0].epoch == Epoch::Early => {
                self.switch13(Side::Client, Epoch::Handshake);
                Some(TlsMessageKind::EndOfEarlyData)
            }
            SERVER_KEY_EXCHANGE => {
                let what = handshake::server_key_exchange(body);
                if let TlsMessageKind::ServerKeyExchange { group: Some(group), .. } = &what {
                    self.facts.group = Some(group.clone());
                }
                Some(what)
            }
            CERTIFICATE_REQUEST => Some(TlsMessageKind::CertificateRequest),
            SERVER_HELLO_DONE => Some(TlsMessageKind::ServerHelloDone),
            CLIENT_KEY_EXCHANGE => Some(TlsMessageKind::ClientKeyExchange),
            CERTIFICATE_STATUS => Some(TlsMessageKind::CertificateStatus),
            _ => None,
        }
    }

    fn client_hello(&mut self, body: &[u8], message: &[u8]) -> Option<TlsMessageKind> {
        let Some(mut hello) = handshake::client_hello(body) else {
            self.stop(Side::Client, "the ClientHello is malformed");
            return None;
        };
        self.transcript.push(message);
        match self.phase {
            Phase::AwaitClientHello => {
                self.facts.server_name.clone_from(&hello.server_name);
                if hello.early_data {
                    self.facts.early_data = EarlyData::Offered;
                    self.halves[Side::Client.index()].epoch = Epoch::Early;
                }
            }
            Phase::AwaitSecondHello => {
                // The random stays the same (RFC 8446, 4.1.2); early data is over.
                let half = &mut self.halves[Side::Client.index()];
                (half.epoch, half.keys) = (Epoch::Plain, None);
            }
            // A renegotiation inside TLS 1.2 would change keys: it is shown, its keys are not followed.
            Phase::AwaitServerHello | Phase::Open => return Some(hello.show),
        }
        self.phase = Phase::AwaitServerHello;
        let show = std::mem::replace(&mut hello.show, TlsMessageKind::EndOfEarlyData);
        self.hello = Some(hello);
        Some(show)
    }

    fn server_hello(&mut self, body: &[u8], message: &[u8]) -> Option<TlsMessageKind> {
        if self.phase != Phase::AwaitServerHello {
            return None;
        }
        let Some(hello) = handshake::server_hello(body) else {
            self.stop(Side::Server, "the ServerHello is malformed");
            return None;
        };
        self.suite = keys::suite(hello.suite);
        if let Some(suite) = self.suite {
            self.transcript.start(suite.hash, hello.retry);
        }
        self.transcript.push(message);
        self.tls13 = hello.version == 0x0304;
        self.facts.suite = Some(hello.suite);
        self.facts.suite_name = names::suite(hello.suite);
        if hello.retry {
            self.facts.retried = true;
            if self.facts.early_data == EarlyData::Offered {
                self.facts.early_data = EarlyData::Refused;
            }
            self.phase = Phase::AwaitSecondHello;
            return Some(hello.show);
        }
        self.phase = Phase::Open;
        self.facts.version = match hello.version {
            0x0304 => Some(TlsVersion::Tls13),
            0x0303 => Some(TlsVersion::Tls12),
            other => {
                self.problem(format!("{} is not read", names::version(other)));
                None
            }
        };
        self.server_random = Some(hello.random);
        self.facts.group = hello.group;
        if self.tls13 {
            self.facts.resumed = hello.psk;
            self.switch13(Side::Server, Epoch::Handshake);
            if self.halves[Side::Client.index()].epoch != Epoch::Early {
                self.switch13(Side::Client, Epoch::Handshake);
            }
        } else {
            self.facts.alpn = hello.alpn;
            let offered = self.hello.as_ref().map(|h| h.session_id.as_slice()).unwrap_or_default();
            self.facts.resumed = !offered.is_empty() && offered == hello.session_id;
        }
        Some(hello.show)
    }

    fn finished(&mut self, side: Side, body: &[u8], message: &[u8], mark: Mark) -> TlsMessageKind {
        let verified = self.expected_finished(side).map(|expected| expected == body);
        self.transcript.push(message);
        self.halves[side.index()].finished = true;
        if self.tls13 {
            self.switch13(side, Epoch::Traffic);
        }
        if self.halves.iter().all(|h| h.finished) && self.facts.handshake_done.is_none() {
            self.facts.handshake_done = Some(mark);
        }
        TlsMessageKind::Finished { verified }
    }

    /// What the Finished of `side` must hold, if it can be known.
    fn expected_finished(&self, side: Side) -> Option<Vec<u8>> {
        let suite = self.suite?;
        let transcript = self.transcript.current()?;
        if !self.tls13 {
            let master = self.secrets.find(&self.hello.as_ref()?.random, Label::Master)?;
            return Some(keys::finished12(suite.hash, master, side == Side::Client, &transcript));
        }
        // The client's covers the server's: only the order in which they were sent gives the right transcript.
        if side == Side::Client && !self.halves[Side::Server.index()].finished {
            return None;
        }
        keys::finished13(suite.hash, self.secret(side, Epoch::Handshake)?, &transcript)
    }

    fn key_update(&mut self, side: Side, body: &[u8]) -> Option<TlsMessageKind> {
        let requested = *body.first()? == 1;
        if self.tls13 && self.halves[side.index()].epoch == Epoch::Traffic {
            let suite = self.suite?;
            let half = &mut self.halves[side.index()];
            let secret = keys::updated(suite.hash, &half.secret)?;
            half.keys = Keys::tls13(suite, &secret);
            half.secret = secret;
        }
        Some(TlsMessageKind::KeyUpdate { requested })
    }
}
