//! Pages of device-terminated inventories, and how devices gain access to answer them.

use ambit_ngap::{DeviceBits, InventoryRequest, Target};
use ambit_protocol::RandN;

use super::contention::{Contention, Rules, Step};
use super::session::{Answers, Inventory, Session, SessionKind};
use super::{Downlink, Gnb};
use crate::frame::{AccessRound, Page, PageAccess, PageTarget, RadioId, RandomIdMessage};

/// The page of one device is sent so often while it is awaited.
const FREE_PAGES: u64 = 4;

impl Gnb {
    pub(super) fn page(
        &mut self,
        now_ms: u64,
        rand_n: RandN,
        request: &InventoryRequest<'_>,
        readers: &[u16],
    ) -> SessionKind {
        let transaction = self.next_transaction;
        self.next_transaction = self.next_transaction.wrapping_add(1);
        let is_single = matches!(request.target, Target::Single(_));
        let contention = Contention::new(now_ms, request.approximate_devices, &self.rules());
        let access = match is_single {
            true => PageAccess::Free,
            false => PageAccess::Contention {
                exponent: contention.exponent(),
            },
        };
        let page = Page {
            transaction,
            access,
            rand_n,
            target: page_target(&request.target),
        };
        self.send_page(&page, readers);
        let answers = if is_single {
            Answers::Free {
                page,
                until_ms: now_ms + u64::from(self.config.inventory_wait_ms),
                repeat_ms: Some(now_ms + self.repeat_ms()),
            }
        } else {
            self.stats.access_rounds += readers.len() as u64;
            let rules = self.rules();
            let expected = request.approximate_devices;
            let start = |reader: &u16| (*reader, Contention::new(now_ms, expected, &rules));
            Answers::Contention(readers.iter().map(start).collect())
        };
        SessionKind::Inventory(Inventory {
            transaction,
            answers,
            is_complete: false,
        })
    }

    /// A device said its Random ID in an access occasion.
    pub fn handle_random_id(&mut self, reader_index: u16, radio_id: RadioId, octets: &[u8]) {
        self.stats.random_ids += 1;
        let is_taken = RandomIdMessage::parse(octets).is_some_and(|message| {
            let of = |session: &&mut Session| session.transaction() == Some(message.transaction);
            let session = self.sessions.iter_mut().find(of);
            let contention = session.and_then(|session| session.contention(reader_index));
            contention.is_some_and(|c| c.hear_id(message.round, message.occasion, radio_id))
        });
        if !is_taken {
            self.stats.random_ids_refused += 1;
        }
    }

    /// Whether an answer to a page was called for: always where there is no contention.
    pub(super) fn is_called(&mut self, at: usize, reader_index: u16, radio_id: RadioId) -> bool {
        let session = self.sessions.get_mut(at);
        match session.and_then(|session| session.contention(reader_index)) {
            Some(contention) => contention.hear_data(radio_id),
            None => true,
        }
    }

    /// Goes on with the pages that are out.
    pub(super) fn go_on_paging(&mut self, now_ms: u64) {
        let rules = self.rules();
        let repeat_ms = self.repeat_ms();
        let (mut pages, mut steps) = (Vec::new(), Vec::new());
        for session in &mut self.sessions {
            let Session {
                kind: SessionKind::Inventory(inventory),
                readers,
                has_answers,
                ..
            } = session
            else {
                continue;
            };
            match &mut inventory.answers {
                Answers::Free {
                    page,
                    repeat_ms: next_ms,
                    ..
                } => {
                    if next_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                        *next_ms = (!*has_answers).then_some(now_ms + repeat_ms);
                        if !*has_answers {
                            pages.push((page.clone(), readers.clone()));
                        }
                    }
                }
                Answers::Contention(contentions) => {
                    let transaction = inventory.transaction;
                    for (reader_index, contention) in contentions {
                        let next = contention.handle_timeout(now_ms, &rules);
                        steps.extend(
                            next.into_iter()
                                .map(|step| (transaction, *reader_index, step)),
                        );
                    }
                }
            }
        }
        for (page, readers) in pages {
            self.send_page(&page, &readers);
        }
        for (transaction, reader_index, step) in steps {
            self.take_step(transaction, reader_index, step);
        }
    }

    fn take_step(&mut self, transaction: u16, reader_index: u16, step: Step) {
        let downlink = match step {
            Step::Respond(radio_id) => Downlink::RandomIdResponse {
                reader_index,
                radio_id,
            },
            Step::Nack(radio_id) => {
                self.stats.nacks += 1;
                Downlink::Nack {
                    reader_index,
                    radio_id,
                }
            }
            Step::Trigger { round, exponent } => {
                self.stats.access_rounds += 1;
                Downlink::AccessTrigger {
                    reader_index,
                    round: AccessRound {
                        transaction,
                        round,
                        exponent,
                    },
                }
            }
        };
        self.push_downlink(downlink);
    }

    fn send_page(&mut self, page: &Page, readers: &[u16]) {
        for reader_index in readers {
            self.push_downlink(Downlink::Page {
                reader_index: *reader_index,
                page: page.clone(),
            });
        }
    }

    fn repeat_ms(&self) -> u64 {
        (u64::from(self.config.inventory_wait_ms) / FREE_PAGES).max(1)
    }

    fn rules(&self) -> Rules {
        Rules {
            exponent_max: self.config.occasions_exponent_max.min(15),
            rounds_max: self.config.access_rounds_max,
            wait_ms: self.config.access_wait_ms,
        }
    }
}

fn page_target(target: &Target<'_>) -> PageTarget {
    let parts = |bits: &DeviceBits<'_>| (bits.octets().to_vec(), bits.bits());
    match target {
        Target::AllDevices => PageTarget::All,
        Target::Single(device) => {
            let (octets, bits) = parts(device);
            PageTarget::Single { octets, bits }
        }
        Target::Group(filter) => {
            let (octets, bits) = parts(filter);
            PageTarget::Group { octets, bits }
        }
    }
}
