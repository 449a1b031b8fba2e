//! A deterministic single-threaded executor: tasks are polled in the order in which they were woken, and nothing else
//! (no clock, no threads, no dice) has a say.
//!
//! Not for: deciding when to poll; that is [`crate::Runtime`], which runs it to a fixpoint with the stack. Wakers are
//! `Send` because hyper and tokio's traits want that, not because anything here runs in parallel.
//!
//! Simplification: no priorities and no budget per task; a task that wakes itself for ever is stopped by the runtime's
//! bound with a diagnostic.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A boxed future that may be held by a host (hosts are `Send`).
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Ids of tasks that wait to be polled, oldest first.
#[derive(Debug, Default)]
struct ReadyQueue(Mutex<VecDeque<u64>>);

impl ReadyQueue {
    fn push(&self, id: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
    }

    fn pop(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What a waker of ours does: put the task into the queue, once.
struct TaskWake {
    id: u64,
    queued: AtomicBool,
    queue: Arc<ReadyQueue>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.queue.push(self.id);
        }
    }
}

struct Task {
    future: BoxFuture<()>,
    wake: Arc<TaskWake>,
    waker: Waker,
}

/// The tasks of one host.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: BTreeMap<u64, Task>,
    ready: Arc<ReadyQueue>,
    made: u64,
}

impl Executor {
    /// Adds a task; it is polled for the first time in its turn.
    pub(crate) fn spawn(&mut self, future: BoxFuture<()>) {
        self.made += 1;
        let id = self.made;
        let wake = Arc::new(TaskWake { id, queued: AtomicBool::new(true), queue: Arc::clone(&self.ready) });
        let waker = Waker::from(Arc::clone(&wake));
        self.tasks.insert(id, Task { future, wake, waker });
        self.ready.push(id);
    }

    /// Whether no task wants to be polled.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Number of tasks that are not finished.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Polls the task that was woken first; false when there is none.
    pub(crate) fn poll_next(&mut self) -> bool {
        let Some(id) = self.ready.pop() else { return false };
        // A waker may outlive its task: then there is nothing to poll.
        let Some(task) = self.tasks.get_mut(&id) else { return true };
        task.wake.queued.store(false, Ordering::Relaxed);
        let done = match task.future.as_mut().poll(&mut Context::from_waker(&task.waker)) {
            Poll::Ready(()) => self.tasks.remove(&id),
            Poll::Pending => None,
        };
        drop(done);
        true
    }
}

struct Joint<T> {
    value: Option<T>,
    waiter: Option<Waker>,
}

/// Waits for the result of a spawned task. Dropping it lets the task run on.
pub struct JoinHandle<T>(Arc<Mutex<Joint<T>>>);

impl<T: Send + 'static> JoinHandle<T> {
    /// Splits `future` into a task without result and the handle that gets it.
    pub(crate) fn split(future: impl Future<Output = T> + Send + 'static) -> (BoxFuture<()>, JoinHandle<T>) {
        let joint = Arc::new(Mutex::new(Joint { value: None, waiter: None }));
        let task = Joined { future: Box::pin(future), joint: Arc::clone(&joint) };
        (Box::pin(task), JoinHandle(joint))
    }
}

/// A task whose result somebody may wait for. The future has a box of its own: an `async` block would hold it twice and move
/// it when polled first, and futures of requests are kilobytes long.
struct Joined<F: Future> {
    future: Pin<Box<F>>,
    joint: Arc<Mutex<Joint<F::Output>>>,
}

impl<F: Future> Future for Joined<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let value = std::task::ready!(self.future.as_mut().poll(cx));
        let mut joint = self.joint.lock().unwrap_or_else(PoisonError::into_inner);
        joint.value = Some(value);
        if let Some(waiter) = joint.waiter.take() {
            waiter.wake();
        }
        Poll::Ready(())
    }
}

/// A task whose result is thrown away.
pub(crate) struct Forgotten<F>(Pin<Box<F>>);

impl<F: Future> Forgotten<F> {
    pub(crate) fn new(future: F) -> Forgotten<F> {
        Forgotten(Box::pin(future))
    }
}

impl<F: Future> Future for Forgotten<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx).map(drop)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut joint = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match joint.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                joint.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{Executor, JoinHandle};

    /// Yields once, so that the task goes to the end of the queue.
    async fn yield_once() {
        let mut first = true;
        std::future::poll_fn(move |cx| {
            if std::mem::take(&mut first) {
                cx.waker().wake_by_ref();
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[test]
    fn tasks_run_in_the_order_in_which_they_were_woken() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut executor = Executor::default();
        for name in ["a", "b"] {
            let log = Arc::clone(&log);
            executor.spawn(Box::pin(async move {
                for round in 0..2 {
                    log.lock().unwrap().push((name, round));
                    yield_once().await;
                }
            }));
        }
        while executor.poll_next() {}
        assert_eq!(*log.lock().unwrap(), [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
        assert_eq!(executor.len(), 0);
        assert!(executor.is_idle());
    }

    #[test]
    fn a_handle_gets_the_result() {
        let mut executor = Executor::default();
        let (task, handle) = JoinHandle::split(async {
            yield_once().await;
            7
        });
        let seen = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&seen);
        executor.spawn(Box::pin(async move {
            let value = handle.await;
            *theirs.lock().unwrap() = value;
        }));
        executor.spawn(task);
        while executor.poll_next() {}
        assert_eq!(*seen.lock().unwrap(), 7);
    }
}
