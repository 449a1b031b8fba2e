//! A stream whose items are made by an async function, one when it is asked for one.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tonic::codegen::tokio_stream::Stream;

use crate::executor::BoxFuture;

/// Where the function puts an item.
pub(super) struct Slot<I>(Arc<Mutex<Option<I>>>);

impl<I> Slot<I> {
    fn take(&self) -> Option<I> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives an item, and goes on when the next one is asked for.
    pub(super) async fn give(&self, item: I) {
        let mut item = Some(item);
        poll_fn(|_| {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if item.is_none() && place.is_none() {
                return Poll::Ready(());
            }
            // Whoever polls takes it, and polls again for the next.
            *place = item.take().or_else(|| place.take());
            Poll::Pending
        })
        .await;
    }
}

/// The stream. Dropping it drops the function where it is.
pub(super) struct Steps<I> {
    slot: Slot<I>,
    function: Option<BoxFuture<()>>,
}

impl<I: Send + 'static> Steps<I> {
    /// The items that `function` gives.
    pub(super) fn of<F>(function: impl FnOnce(Slot<I>) -> F) -> Steps<I>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = Arc::new(Mutex::new(None));
        let function = function(Slot(Arc::clone(&place)));
        Steps { slot: Slot(place), function: Some(Box::pin(function)) }
    }
}

impl<I: Send + 'static> Stream for Steps<I> {
    type Item = I;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<I>> {
        let Some(function) = &mut self.function else { return Poll::Ready(None) };
        let over = function.as_mut().poll(cx).is_ready();
        if over {
            self.function = None;
        }
        match self.slot.take() {
            Some(item) => Poll::Ready(Some(item)),
            None if over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
