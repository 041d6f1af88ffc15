//! NGAP as a packet capture: pcap records of IPv4 and SCTP around each PDU, so that other programs read them as they would a
//! standard N2 (SCTP port 38412, payload protocol identifier 60). Where N2 goes over TCP, this is what it would be on SCTP.

/// The SCTP port of NGAP.
const PORT: u16 = 38412;

/// The SCTP payload protocol identifier of NGAP.
const PPID: u32 = 60;

/// Octets of a PDU in one packet, at most; longer ones go in several, as SCTP has it. A multiple of 4.
const FRAGMENT_OCTETS: usize = 60_000;

/// Packets of raw IP.
const LINKTYPE_RAW: u32 = 101;

/// Which way a PDU went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a gNB to the core.
    Up,
    /// From the core to a gNB.
    Down,
}

/// A capture under way: it counts what SCTP counts.
#[derive(Debug, Default)]
pub struct Capture {
    /// Transmission sequence number of the next chunk.
    tsn: u32,
    /// Stream sequence number of the next PDU.
    ssn: u16,
}

impl Capture {
    /// What a capture file begins with.
    pub fn header() -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        out.extend_from_slice(&0xa1b2_c3d4u32.to_be_bytes());
        out.extend_from_slice(&[0, 2, 0, 4]);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&0x0004_0000u32.to_be_bytes());
        out.extend_from_slice(&LINKTYPE_RAW.to_be_bytes());
        out
    }

    /// The records of one PDU, to be appended to the file. `unix_ms` is its time; the connection gives the gNB its address,
    /// 10.1.x.y, the core's being 10.0.0.1.
    pub fn records(&mut self, unix_ms: i64, way: Way, connection: u64, pdu: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(pdu.len() + 128);
        let [.., high, low] = connection.to_be_bytes();
        let (core, gnb) = ([10, 0, 0, 1], [10, 1, high, low]);
        let (from, to) = match way {
            Way::Up => (gnb, core),
            Way::Down => (core, gnb),
        };
        let pieces = pdu.chunks(FRAGMENT_OCTETS);
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.enumerate() {
            let begin_and_end = (u8::from(at == 0) << 1) | u8::from(at == last);
            let packet = ipv4(from, to, &self.sctp(begin_and_end, piece));
            let ms = unix_ms.max(0).unsigned_abs();
            let micros = ms % 1000 * 1000;
            let len = packet.len() as u64;
            // The year 2106 and packets of 4 GiB are out of a pcap record's reach.
            for word in [ms / 1000, micros, len, len] {
                out.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_be_bytes());
            }
            out.extend_from_slice(&packet);
            self.tsn = self.tsn.wrapping_add(1);
        }
        self.ssn = self.ssn.wrapping_add(1);
        out
    }

    /// One DATA chunk in an SCTP packet (RFC 9260).
    fn sctp(&self, begin_and_end: u8, piece: &[u8]) -> Vec<u8> {
        let chunk_octets = u16::try_from(16 + piece.len()).unwrap_or(u16::MAX);
        let mut out = Vec::with_capacity(piece.len() + 32);
        out.extend_from_slice(&PORT.to_be_bytes());
        out.extend_from_slice(&PORT.to_be_bytes());
        // Verification tag, then the checksum, which is computed with zeros in its place.
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[0, begin_and_end]);
        out.extend_from_slice(&chunk_octets.to_be_bytes());
        out.extend_from_slice(&self.tsn.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&self.ssn.to_be_bytes());
        out.extend_from_slice(&PPID.to_be_bytes());
        out.extend_from_slice(piece);
        out.resize(out.len().next_multiple_of(4), 0);
        let checksum = crc32c(&out).to_le_bytes();
        if let Some(place) = out.get_mut(8..12) {
            place.copy_from_slice(&checksum);
        }
        out
    }
}

fn ipv4(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let [high, low] = total.to_be_bytes();
    // Do not fragment, 64 hops, SCTP.
    let mut header = [
        0x45, 0, high, low, 0, 0, 0x40, 0, 64, 132, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    if let Some(place) = header.get_mut(12..16) {
        place.copy_from_slice(&from);
    }
    if let Some(place) = header.get_mut(16..20) {
        place.copy_from_slice(&to);
    }
    let words = header.chunks_exact(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
    if let Some(place) = header.get_mut(10..12) {
        place.copy_from_slice(&(!folded).to_be_bytes());
    }
    let mut out = header.to_vec();
    out.extend_from_slice(payload);
    out
}

/// CRC-32C (Castagnoli), which SCTP has for its checksum.
fn crc32c(octets: &[u8]) -> u32 {
    let mut crc = !0u32;
    for octet in octets {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_of_the_standards() {
        // RFC 3720, B.4, and a header of RFC 1071's kind.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let packet = ipv4([10, 0, 0, 1], [10, 1, 0, 9], &[0; 8]);
        let words = packet[..20].chunks_exact(2);
        let sum: u32 = words
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn a_pdu_lies_in_one_packet_and_a_long_one_in_several() {
        let mut capture = Capture::default();
        let short = capture.records(1_800_000_000_123, Way::Up, 7, &[0xab; 30]);
        assert_eq!(short.len(), 16 + 20 + 12 + 16 + 32);
        assert_eq!(short[..8], [0x6b, 0x49, 0xd2, 0x00, 0, 1, 0xe0, 0x78]);
        assert_eq!(
            (&short[28..32], &short[32..36]),
            (&[10, 1, 0, 7][..], &[10, 0, 0, 1][..])
        );
        // Beginning and end; length; TSN 0; stream 1; SSN 0; PPID 60.
        let chunk = [0, 3, 0, 46, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 60];
        assert_eq!(short[48..64], chunk);
        assert_eq!(short[64..94], [0xab; 30]);

        let long = capture.records(0, Way::Down, 7, &vec![1; 130_000]);
        let flags: Vec<u8> = [0, 1, 2]
            .map(|n| long[n * (16 + 48 + FRAGMENT_OCTETS) + 49])
            .into();
        assert_eq!(flags, [2, 0, 1]);
    }
}
