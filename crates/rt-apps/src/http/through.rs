//! Streams around another one that only look at what is read: what is written goes on as it is.

/// Implements `AsyncWrite` by the field `stream`.
macro_rules! writes_through {
    ($around:ident<$inner:ident>) => {
        impl<$inner: tokio::io::AsyncWrite + Unpin> tokio::io::AsyncWrite for $around<$inner> {
            $crate::http::writes_through!(@methods);
        }
    };
    ($around:ident) => {
        impl tokio::io::AsyncWrite for $around {
            $crate::http::writes_through!(@methods);
        }
    };
    (@methods) => {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            data: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.stream).poll_write(cx, data)
        }

        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    };
}
pub(crate) use writes_through;
