//! The way to one gNB, either way: messages go in their order where that matters, and side by side where it does not.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::task::Poll;

use ambit_ngap::{FromGnb, ToGnb};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

/// Messages of one gNB under way at once.
const AT_ONCE_MAX: usize = 64;

/// What keeps its order with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Order {
    /// After all before it, before all after it: what opens and ends sessions.
    Alone,
    /// With others of its device only.
    Device(u32),
    /// With none.
    Free,
}

impl Order {
    pub(super) const fn of_from_gnb(message: &FromGnb<'_>) -> Self {
        match message {
            FromGnb::CommandResponse { device_ngap_id, .. }
            | FromGnb::CommandFailure { device_ngap_id, .. } => Self::Device(*device_ngap_id),
            FromGnb::InventoryReport {
                complete: false, ..
            } => Self::Free,
            _ => Self::Alone,
        }
    }

    pub(super) const fn of_to_gnb(message: &ToGnb<'_>) -> Self {
        match message {
            ToGnb::CommandRequest { device_ngap_id, .. } => Self::Device(*device_ngap_id),
            _ => Self::Alone,
        }
    }
}

enum Next<M, D> {
    Done(D),
    Message(Option<M>),
}

/// Sends what comes in until the sender is gone or something cannot be sent: then the error.
pub(super) async fn run<M, E, F>(
    messages: &mut Receiver<M>,
    order: impl Fn(&M) -> Order,
    send: impl Fn(M) -> F,
) -> Result<(), E>
where
    E: Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let mut under_way: JoinSet<(Order, Result<(), E>)> = JoinSet::new();
    let mut devices: HashSet<Order> = HashSet::new();
    loop {
        // What is done first, so that an error is not overlooked while messages come in.
        let next = poll_fn(|context| match under_way.poll_join_next(context) {
            Poll::Ready(Some(done)) => Poll::Ready(Next::Done(done)),
            _ => messages.poll_recv(context).map(Next::Message),
        });
        let message = match next.await {
            Next::Done(done) => {
                end(done, &mut devices)?;
                continue;
            }
            Next::Message(message) => message,
        };
        let Some(message) = message else {
            break;
        };
        let wanted = order(&message);
        while !under_way.is_empty()
            && (wanted == Order::Alone
                || devices.contains(&wanted)
                || under_way.len() >= AT_ONCE_MAX)
        {
            if let Some(done) = under_way.join_next().await {
                end(done, &mut devices)?;
            }
        }
        let sending = send(message);
        if wanted == Order::Alone {
            sending.await?;
            continue;
        }
        if wanted != Order::Free {
            devices.insert(wanted);
        }
        under_way.spawn(async move { (wanted, sending.await) });
    }
    while let Some(done) = under_way.join_next().await {
        end(done, &mut devices)?;
    }
    Ok(())
}

fn end<E>(
    done: Result<(Order, Result<(), E>), tokio::task::JoinError>,
    devices: &mut HashSet<Order>,
) -> Result<(), E> {
    match done {
        Ok((order, result)) => {
            devices.remove(&order);
            result
        }
        // The runtime is ending.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn runtime() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    }

    /// Messages are (order, number, how often sending yields before it is done).
    type Message = (Order, u32, u32);

    fn done_in(messages: Vec<Message>) -> Vec<u32> {
        let done = Arc::new(Mutex::new(Vec::new()));
        runtime().block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(messages.len());
            for message in messages {
                sender.send(message).await.unwrap();
            }
            drop(sender);
            let into = Arc::clone(&done);
            let send = move |(_, number, yields): Message| {
                let done = Arc::clone(&into);
                async move {
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    done.lock().unwrap().push(number);
                    Ok::<(), ()>(())
                }
            };
            run(&mut receiver, |(order, ..)| *order, send)
                .await
                .unwrap();
        });
        let done = done.lock().unwrap();
        done.clone()
    }

    #[test]
    fn devices_overtake_each_other_and_never_themselves_nor_what_goes_alone() {
        let (a, b) = (Order::Device(1), Order::Device(2));
        // The slow one is overtaken by the other device, not by its own next message.
        assert_eq!(done_in(vec![(a, 1, 50), (b, 2, 0), (a, 3, 0)]), [2, 1, 3]);
        assert_eq!(
            done_in(vec![
                (a, 1, 50),
                (Order::Free, 2, 20),
                (Order::Alone, 3, 10),
                (b, 4, 0)
            ]),
            [2, 1, 3, 4]
        );
    }

    #[test]
    fn what_cannot_be_sent_ends_the_lane() {
        let ended = runtime().block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
            for n in 0..3_u32 {
                sender.send(n).await.unwrap();
            }
            let order = |n: &u32| Order::Device(*n);
            let send = |n: u32| async move { if n == 1 { Err(n) } else { Ok(()) } };
            // The sender is still there: the error alone ends it.
            let ended = run(&mut receiver, order, send).await;
            drop(sender);
            ended
        });
        assert_eq!(ended, Err(1));
    }
}
