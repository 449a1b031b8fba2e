//! Who is connected to a path where everybody hears everybody, and what waits to be sent to each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::reader::Message;

/// Bytes that may wait for one member; whoever reads more slowly is let go.
const MOST_WAITING: usize = 4 << 20;

/// Everybody at one path, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Members>);

#[derive(Debug, Default)]
struct Members {
    next: u64,
    all: BTreeMap<u64, Arc<Letters>>,
}

/// What waits for one member.
#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: Mutex<Waiting>,
    told: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Arc<Message>>,
    bytes: usize,
    /// It reads too slowly.
    late: bool,
}

/// A place in the room, given up when dropped.
pub(super) struct Seat {
    room: Arc<Room>,
    number: u64,
    letters: Arc<Letters>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    /// Comes in.
    pub(super) fn enter(self: &Arc<Room>) -> Seat {
        let letters = Arc::new(Letters::default());
        let mut members = locked(&self.0);
        members.next += 1;
        let number = members.next;
        members.all.insert(number, Arc::clone(&letters));
        Seat { room: Arc::clone(self), number, letters }
    }

    /// Says something to everybody, the speaker included.
    pub(super) fn say(&self, message: Message) {
        let message = Arc::new(message);
        for letters in locked(&self.0).all.values() {
            letters.put(Arc::clone(&message));
        }
    }
}

impl Letters {
    fn put(&self, message: Arc<Message>) {
        let mut waiting = locked(&self.waiting);
        waiting.bytes += message.bytes.len() + size_of::<Message>();
        if waiting.bytes > MOST_WAITING {
            (waiting.late, waiting.queue) = (true, VecDeque::new());
        } else if !waiting.late {
            waiting.queue.push_back(message);
        }
        drop(waiting);
        self.told.notify_one();
    }
}

impl Seat {
    /// The next message for this member; `None` when it is too slow to stay. May be dropped half done.
    pub(super) async fn next(&self) -> Option<Arc<Message>> {
        loop {
            {
                let mut waiting = locked(&self.letters.waiting);
                if waiting.late {
                    return None;
                }
                if let Some(message) = waiting.queue.pop_front() {
                    waiting.bytes -= message.bytes.len() + size_of::<Message>();
                    return Some(message);
                }
            }
            self.letters.told.notified().await;
        }
    }

    pub(super) fn say(&self, message: Message) {
        self.room.say(message);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        locked(&self.room.0).all.remove(&self.number);
    }
}
