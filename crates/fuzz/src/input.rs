//! Reads choices off the input's front. An input that is at its end goes on as zeros, so that every input is one.

/// What is left of an input.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An octet.
    pub fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Two octets.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// Four octets.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// N octets.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u8())
    }

    /// At most `n` octets: as many as are left.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// An octet that says how many follow, and those.
    pub fn short(&mut self) -> &'a [u8] {
        let n = self.u8();
        self.take(n.into())
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.u8()) % of.len()]
    }

    /// Damages a message: nothing, bits, its end, its inside, another message.
    pub fn damage(&mut self, message: &[u8]) -> Vec<u8> {
        let mut octets = message.to_vec();
        let at = |input: &mut Self, n: usize| usize::from(input.u16()) % n.max(1);
        match self.u8() % 7 {
            1 if !octets.is_empty() => {
                let bit = at(self, octets.len() * 8);
                octets[bit / 8] ^= 1 << (bit % 8);
            }
            2 => octets.truncate(at(self, message.len())),
            3 => octets.extend_from_slice(self.short()),
            4 => {
                let at = at(self, message.len() + 1);
                octets.insert(at, self.u8());
            }
            5 if !octets.is_empty() => {
                octets.remove(at(self, message.len()));
            }
            6 => octets = self.short().to_vec(),
            _ => {}
        }
        octets
    }
}
