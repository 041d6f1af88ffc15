//! Exchanges of suite 1 laid out for registers that hold a block of several.

use ambit_protocol::KAiotf;
use ambit_protocol::Suite;
use ambit_protocol::exchange::Plaintext;
use ambit_protocol::schedule::Label;
use ambit_protocol::seal::{Direction, Tag};
use ambit_protocol::wire::ACCEPT_HEADER;
use zeroize::Zeroize;

use crate::exchange::{Opened, Sealed};

pub(crate) type Block = [u8; 16];

/// Blocks of a report's K_AIOTF: its input has 33 to 37 octets with the label, whatever the form.
pub(crate) const INPUT_BLOCKS: usize = 3;

/// What is before the plaintext in the first block of TAG1: label and header.
const BEFORE_TEXT: usize = 2;

/// The longest plaintext that leaves TAG1 one block.
const TEXT_OCTETS_MAX: usize = 16 - BEFORE_TEXT;

/// One exchange. All but the key comes from the report.
pub(crate) struct Lane<'a> {
    pub(crate) key: &'a Block,
    /// Label and x of K_AIOTF, the last block padded. It is never full.
    pub(crate) input: [Block; INPUT_BLOCKS],
    /// The counter block of the report's keystream.
    pub(crate) counter: Block,
    /// The ciphertext where the plaintext stands in the block of TAG1.
    pub(crate) ciphertext: Block,
    /// All ones there.
    pub(crate) text_mask: Block,
    /// The rest of that block: label, header, padding.
    pub(crate) frame: Block,
    /// All ones when the block is full, without padding: then it is subkey K1, else K2.
    pub(crate) full_mask: Block,
    /// The block of TAG2 of the ACCEPT without P2, padded.
    pub(crate) accept: Block,
}

/// What comes of it.
#[derive(Clone, Default)]
pub(crate) struct LaneOut {
    pub(crate) k_aiotf: Block,
    /// The plaintext, where it stands in the block of TAG1.
    pub(crate) text: Block,
    pub(crate) tag1: Block,
    pub(crate) tag2: Block,
}

impl<'a> Lane<'a> {
    /// `None` for what takes more blocks than a lane has.
    pub(crate) fn of(sealed: &Sealed<'a>) -> Option<Self> {
        let (ciphertext, tag) = sealed.report.sealed(sealed.tag_len)?;
        let (text, text_len) = (number(ciphertext)?, ciphertext.len());
        let (tag_octets, tag_len) = (number(tag.as_slice())?, tag.as_slice().len());
        if sealed.suite != Suite::AesCmac
            || text_len > TEXT_OCTETS_MAX
            || tag_len > TEXT_OCTETS_MAX - 1
        {
            return None;
        }
        let mut input = [[0; 16]; INPUT_BLOCKS];
        let (label, x) = (sealed.input.label().0, sealed.input.x());
        let (first, rest) = input.as_flattened_mut().split_first_mut()?;
        *first = label;
        rest.get_mut(..x.len())?.copy_from_slice(x);
        *rest.get_mut(x.len())? = PADDING;
        // One octet before is the label: with it, two blocks are full and the third is not.
        if x.len() < 2 * 16 {
            return None;
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = tag.iv(Direction::Report);
        let mask = !(u128::MAX.checked_shl(8 * text_len as u32).unwrap_or(0));
        let is_full = text_len == TEXT_OCTETS_MAX;
        Some(Self {
            key: sealed.key,
            input,
            counter: [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0, 0, 0],
            ciphertext: after_head(text).to_le_bytes(),
            text_mask: after_head(mask).to_le_bytes(),
            frame: framed(Label::REPORT, sealed.report.id().header(), 0, text_len),
            full_mask: if is_full { [0xff; 16] } else { [0; 16] },
            accept: framed(Label::ACCEPT, ACCEPT_HEADER, tag_octets, tag_len),
        })
    }
}

impl LaneOut {
    /// `None` when the tag does not verify; what is not verified is not given away.
    pub(crate) fn opened(&self, sealed: &Sealed<'_>) -> Option<Opened> {
        let (ciphertext, tag) = sealed.report.sealed(sealed.tag_len)?;
        let tag1 = Tag::cut(self.tag1, sealed.tag_len);
        if tag1 != tag {
            return None;
        }
        let text = self.text.get(BEFORE_TEXT..)?.get(..ciphertext.len())?;
        Some(Opened {
            k_aiotf: KAiotf::new(self.k_aiotf),
            tag1,
            plaintext: Plaintext::new(text)?,
            empty_accept_tag: Tag::cut(self.tag2, sealed.tag_len),
        })
    }
}

impl Drop for LaneOut {
    fn drop(&mut self) {
        self.k_aiotf.zeroize();
        self.text.zeroize();
    }
}

const PADDING: u8 = 0x80;

/// Up to 16 octets as a number, the first lowest; `None` for more.
fn number(octets: &[u8]) -> Option<u128> {
    let mut block = [0; 16];
    block.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(u128::from_le_bytes(block))
}

/// Moves octets from the front to where label and header are before them.
const fn after_head(octets: u128) -> u128 {
    octets << (8 * BEFORE_TEXT)
}

/// A block of label, header, `len` octets and the padding that there is room for.
fn framed(label: Label, header: u8, octets: u128, len: usize) -> Block {
    let head = u128::from(u16::from_le_bytes([label.0, header]));
    let padding = u128::from(PADDING).checked_shl(8 * (BEFORE_TEXT + len) as u32);
    (head | after_head(octets) | padding.unwrap_or(0)).to_le_bytes()
}
