//! The end of a connection whose client may still be sending: closed at once, the system would answer that with a
//! reset, which can overtake the answer. So what comes is read and dropped for a moment.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    runtime::Handle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::connections::Seat;

/// How long a client that has its answer is listened to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of it that are read.
const MOST: usize = 1 << 20;

/// Where connections end. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endings {
    /// Every task of a connection.
    pub(super) tracker: TaskTracker,
    /// Cancelled when the time is over for all.
    pub(super) cut: CancellationToken,
}

impl Endings {
    /// Says that nothing follows and hears the client out, in a task of its own.
    pub(super) fn hear_out<I>(&self, io: I, seat: Seat)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // None where the runtime itself ends, and all sockets with it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let cut = self.cut.clone();
        let hearing = async move {
            tokio::select! {
                () = hear_out(io) => {}
                () = seat.talk().sent_away() => {}
                () = cut.cancelled() => {}
            }
        };
        self.tracker.spawn_on(hearing, &runtime);
    }
}

async fn hear_out(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let hearing = async {
        // A client that has gone already is the best case.
        let _gone = io.shutdown().await;
        let mut waste = vec![0; 8 * 1024];
        let mut heard = 0;
        while heard < MOST {
            match io.read(&mut waste).await {
                Ok(0) | Err(_) => return,
                Ok(count) => heard += count,
            }
        }
    };
    let _in_time = timeout(PATIENCE, hearing).await;
}
