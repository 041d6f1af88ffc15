//! UICC registrations on their way (section 7): which challenge a device on N2 was sent, so that its answer finds it.

use std::collections::{HashMap, VecDeque};

use ambit_adm_api::ChallengeId;
use ambit_protocol::{AreaId, RandN};

use crate::ConnectionId;

/// Registrations at once, at most; the oldest makes room.
const EXCHANGES_MAX: usize = 16_384;

/// How long the answer of a device is awaited, in milliseconds. A gNB gives up earlier.
const EXCHANGE_MS: i64 = 60_000;

/// A device on N2: connection and RAN-AIOT-Device-NGAP-ID.
pub(crate) type Peer = (ConnectionId, u32);

/// A challenge that is out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) challenge: ChallengeId,
    pub(crate) place: Place,
    until_ms: i64,
}

/// Where a message came through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) correlation: u16,
    pub(crate) gnb_id: u32,
    pub(crate) reader_index: u16,
    pub(crate) area_id: AreaId,
    pub(crate) rand_n: RandN,
}

/// The table.
#[derive(Default)]
pub(crate) struct Exchanges {
    by_peer: HashMap<Peer, Exchange>,
    /// In the order in which they began, each with the time at which to look again.
    order: VecDeque<(i64, Peer)>,
}

impl Exchanges {
    pub(crate) fn open(&mut self, peer: Peer, challenge: ChallengeId, place: Place, now_ms: i64) {
        self.expire(now_ms);
        let until_ms = now_ms.saturating_add(EXCHANGE_MS);
        let exchange = Exchange {
            challenge,
            place,
            until_ms,
        };
        if self.by_peer.insert(peer, exchange).is_none() {
            self.order.push_back((until_ms, peer));
        }
        while self.by_peer.len() > EXCHANGES_MAX {
            let Some((_, oldest)) = self.order.pop_front() else {
                return;
            };
            self.by_peer.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, peer: Peer, now_ms: i64) -> Option<Exchange> {
        let exchange = self.by_peer.get(&peer)?;
        (now_ms < exchange.until_ms).then_some(*exchange)
    }

    /// Forgets the exchanges of a connection that is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.by_peer.retain(|(of, _), _| *of != connection);
        self.order.retain(|(_, (of, _))| *of != connection);
    }

    fn expire(&mut self, now_ms: i64) {
        while let Some((look_ms, peer)) = self.order.front().copied() {
            if look_ms > now_ms {
                return;
            }
            self.order.pop_front();
            match self.by_peer.get(&peer) {
                // It was challenged again.
                Some(exchange) if exchange.until_ms > now_ms => {
                    self.order.push_back((exchange.until_ms, peer));
                }
                _ => {
                    self.by_peer.remove(&peer);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ambit_protocol::Snid;
    use ambit_protocol::area::Plmn;

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
        let place = Place {
            correlation: 0x8000,
            gnb_id: 1,
            reader_index: 1,
            area_id: snid.area([0, 0, 1]),
            rand_n: RandN::new(1, [0; 12]),
        };
        let mut table = Exchanges::default();
        for n in 0..20_000 {
            table.open((1, n), ChallengeId([1; 16]), place, 0);
        }
        assert_eq!(table.by_peer.len(), EXCHANGES_MAX);
        assert!(table.get((1, 19_999), 0).is_some() && table.get((1, 0), 0).is_none());
        table.open((2, 1), ChallengeId([2; 16]), place, EXCHANGE_MS);
        assert_eq!((table.by_peer.len(), table.order.len()), (1, 1));
        table.forget(2);
        assert_eq!((table.by_peer.len(), table.order.len()), (0, 0));
    }
}
