//! The emulated card in a virtual reader: a client of vsmartcard's `vpcd`, which stands in the system's `pcscd`.
//!
//! Each message is a length (u16) and that many octets. One octet alone is an order of the reader; anything longer is a
//! command APDU.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use zeroize::Zeroizing;

use crate::card::{Card, CardMemory};

const POWER_OFF: u8 = 0;
const POWER_ON: u8 = 1;
const RESET: u8 = 2;
const GIVE_ATR: u8 = 4;

/// Port that vpcd listens on unless configured otherwise.
pub const VPCD_PORT: u16 = 35963;

/// Puts `card` into the virtual reader at `address` and serves it until the reader goes away.
///
/// # Errors
/// What connecting, reading or writing gives. The reader closing the connection between two messages is no error.
pub fn serve_vpcd<M: CardMemory>(
    address: impl ToSocketAddrs,
    card: &mut Card<M>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    serve(&mut stream, card)
}

/// As [`serve_vpcd`], over a connection that stands.
///
/// # Errors
/// As [`serve_vpcd`].
pub fn serve<M: CardMemory>(
    stream: &mut (impl Read + Write),
    card: &mut Card<M>,
) -> io::Result<()> {
    card.reset();
    while let Some(message) = receive(stream)? {
        match message.as_slice() {
            [] => {}
            [POWER_OFF | POWER_ON | RESET] => {
                card.reset();
            }
            [GIVE_ATR] => send(stream, &crate::card::ATR)?,
            // An order of a later version.
            [_] => {}
            apdu => send(stream, &Zeroizing::new(card.process(apdu)))?,
        }
    }
    Ok(())
}

/// The next message; `None` when the other side closed before it.
fn receive(stream: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut length = [0u8; 2];
    let [first, second] = &mut length;
    loop {
        match stream.read(std::slice::from_mut(first)) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(std::slice::from_mut(second))?;
    let mut message = Zeroizing::new(vec![0; usize::from(u16::from_be_bytes(length))]);
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(stream: &mut impl Write, octets: &[u8]) -> io::Result<()> {
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    let mut message = Zeroizing::new(length.to_be_bytes().to_vec());
    message.extend_from_slice(octets);
    stream.write_all(&message)?;
    stream.flush()
}
