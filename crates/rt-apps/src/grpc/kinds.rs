//! The methods that the client knows, by the kind of their streams.

/// A method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// One message each way.
    Unary,
    /// The server sends many.
    ServerStreaming,
    /// The client sends many.
    ClientStreaming,
    /// Both send many.
    Bidirectional,
    /// `grpc.health.v1.Health/Check`.
    Health,
}

impl Kind {
    /// Of a path: what is not known is taken for a unary method, and the server says what it thinks of it.
    pub(super) fn of(path: &str) -> Kind {
        match path {
            "/work.Worker/Watch" => Kind::ServerStreaming,
            "/work.Worker/Gather" => Kind::ClientStreaming,
            "/work.Worker/Converse" => Kind::Bidirectional,
            "/grpc.health.v1.Health/Check" => Kind::Health,
            _ => Kind::Unary,
        }
    }

    /// Whether all jobs go into one call.
    pub(super) fn gathers(self) -> bool {
        matches!(self, Kind::ClientStreaming | Kind::Bidirectional)
    }
}
