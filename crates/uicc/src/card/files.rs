//! The file system of a card: a tree of DFs and EFs, found by file identifier, path, short file identifier or name
//! (ETSI TS 102 221 clauses 8 and 11.1.1).

use super::apdu::Status;
use super::pins::KeyReference;

/// File identifiers with a meaning of their own.
pub(super) const MF: u16 = 0x3F00;
pub(super) const CURRENT_ADF: u16 = 0x7FFF;

/// Index of a file in its [`Files`].
pub(super) type Node = usize;
/// The MF is the first.
pub(super) const ROOT: Node = 0;

/// Who may do something to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Always,
    Key(KeyReference),
    Never,
}

/// Access conditions of an EF: a record of EF_ARR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    AlwaysAdm = 1,
    PinAdm = 2,
    PinPin = 3,
    AlwaysPin = 4,
    AlwaysNever = 5,
    PinPin2 = 6,
}

impl Rule {
    pub(super) const ALL: [Self; 6] = [
        Self::AlwaysAdm,
        Self::PinAdm,
        Self::PinPin,
        Self::AlwaysPin,
        Self::AlwaysNever,
        Self::PinPin2,
    ];

    pub(super) const fn read(self) -> Access {
        match self {
            Self::AlwaysAdm | Self::AlwaysPin | Self::AlwaysNever => Access::Always,
            Self::PinAdm | Self::PinPin | Self::PinPin2 => Access::Key(KeyReference::Pin1),
        }
    }

    pub(super) const fn update(self) -> Access {
        match self {
            Self::AlwaysAdm | Self::PinAdm => Access::Key(KeyReference::Adm1),
            Self::PinPin | Self::AlwaysPin => Access::Key(KeyReference::Pin1),
            Self::AlwaysNever => Access::Never,
            Self::PinPin2 => Access::Key(KeyReference::Pin2),
        }
    }
}

/// A file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) fid: u16,
    pub(super) parent: Node,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// MF, DF, or ADF with its AID.
    Directory { aid: Option<Vec<u8>> },
    Elementary {
        sfi: Option<u8>,
        rule: Rule,
        /// 0: transparent; else linear fixed.
        record_len: usize,
        contents: Vec<u8>,
    },
}

/// All files of a card.
#[derive(Debug)]
pub(super) struct Files(Vec<File>);

impl Files {
    pub(super) fn new() -> Self {
        let body = Body::Directory { aid: None };
        Self(vec![File {
            fid: MF,
            parent: ROOT,
            body,
        }])
    }

    pub(super) fn add(&mut self, parent: Node, fid: u16, body: Body) -> Node {
        self.0.push(File { fid, parent, body });
        self.0.len() - 1
    }

    pub(super) fn get(&self, node: Node) -> Result<&File, Status> {
        self.0.get(node).ok_or(Status::FILE_NOT_FOUND)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Node, &File)> {
        self.0.iter().enumerate()
    }

    /// Contents of an EF, to be updated.
    pub(super) fn contents_mut(&mut self, node: Node) -> Option<&mut Vec<u8>> {
        match &mut self.0.get_mut(node)?.body {
            Body::Elementary { contents, .. } => Some(contents),
            Body::Directory { .. } => None,
        }
    }

    pub(super) fn is_directory(&self, node: Node) -> bool {
        matches!(
            self.get(node),
            Ok(File {
                body: Body::Directory { .. },
                ..
            })
        )
    }

    fn is_adf(&self, node: Node) -> bool {
        matches!(
            self.get(node),
            Ok(File {
                body: Body::Directory { aid: Some(_) },
                ..
            })
        )
    }

    fn parent(&self, node: Node) -> Node {
        self.0.get(node).map_or(ROOT, |file| file.parent)
    }

    /// A child of `directory`. ADFs have no file identifier of their own (7FFF stands for the current one).
    pub(super) fn child(&self, directory: Node, fid: u16) -> Option<Node> {
        self.iter()
            .find(|(node, file)| {
                *node != ROOT && file.parent == directory && file.fid == fid && !self.is_adf(*node)
            })
            .map(|(node, _)| node)
    }

    /// SELECT by file identifier (clause 8.4.1): a child, the DF itself, its parent, a DF beside it, the MF, the current ADF.
    pub(super) fn by_fid(&self, current: Node, adf: Option<Node>, fid: u16) -> Option<Node> {
        match fid {
            MF => return Some(ROOT),
            CURRENT_ADF => return adf,
            _ => {}
        }
        let parent = self.parent(current);
        self.child(current, fid).or_else(|| {
            let itself = [current, parent].into_iter().find(|node| {
                !self.is_adf(*node) && self.get(*node).is_ok_and(|file| file.fid == fid)
            });
            let beside = || {
                self.child(parent, fid)
                    .filter(|node| self.is_directory(*node))
            };
            itself.or_else(beside)
        })
    }

    /// SELECT by path: file identifiers one below the other, from `start`. 7FFF may come first.
    pub(super) fn by_path(
        &self,
        start: Node,
        adf: Option<Node>,
        path: &[u8],
    ) -> Result<Node, Status> {
        let (fids, rest) = path.as_chunks::<2>();
        if fids.is_empty() || !rest.is_empty() {
            return Err(Status::LC_INCONSISTENT);
        }
        let mut node = start;
        for (depth, fid) in fids.iter().enumerate() {
            let next = match u16::from_be_bytes(*fid) {
                CURRENT_ADF if depth == 0 => adf,
                fid => self.child(node, fid),
            };
            node = next.ok_or(Status::FILE_NOT_FOUND)?;
        }
        Ok(node)
    }

    /// ADFs whose AID starts with `name`, in the order of EF_DIR.
    pub(super) fn applications(&self, name: &[u8]) -> Vec<Node> {
        self.iter()
            .filter(|(_, file)| matches!(&file.body, Body::Directory { aid: Some(aid) } if aid.starts_with(name)))
            .map(|(node, _)| node)
            .collect()
    }

    /// The EF of `directory` with a short file identifier.
    pub(super) fn by_sfi(&self, directory: Node, wanted: u8) -> Result<Node, Status> {
        self.iter()
            .find(|(_, file)| {
                let found =
                    matches!(&file.body, Body::Elementary { sfi: Some(sfi), .. } if *sfi == wanted);
                found && file.parent == directory
            })
            .map(|(node, _)| node)
            .ok_or(Status::FILE_NOT_FOUND)
    }

    /// The FCP template (clause 11.1.1.3). `pins` has, from the highest bit, which of PIN1, PIN2 and ADM1 are enabled.
    pub(super) fn fcp(&self, node: Node, pins: u8) -> Result<Vec<u8>, Status> {
        let file = self.get(node)?;
        let mut fcp = Vec::new();
        let [fid_high, fid_low] = file.fid.to_be_bytes();
        match &file.body {
            Body::Directory { aid } => {
                tlv(&mut fcp, 0x82, &[0x78, 0x21]);
                match aid {
                    Some(aid) => tlv(&mut fcp, 0x84, aid),
                    None => tlv(&mut fcp, 0x83, &[fid_high, fid_low]),
                }
                // UICC characteristics: clock stop allowed, supply voltage classes A to C (clause 11.1.1.4.6.1).
                tlv(&mut fcp, 0xA5, &[0x80, 0x01, 0x71]);
                tlv(&mut fcp, 0x8A, &[0x05]);
                tlv(
                    &mut fcp,
                    0x8B,
                    &[
                        arr_fid(self.in_adf(node)) as u8,
                        0x06,
                        Rule::AlwaysAdm as u8,
                    ],
                );
                tlv(
                    &mut fcp,
                    0xC6,
                    &[
                        0x90, 0x01, pins, 0x83, 0x01, 0x01, 0x83, 0x01, 0x81, 0x83, 0x01, 0x0A,
                    ],
                );
            }
            Body::Elementary {
                sfi,
                rule,
                record_len,
                contents,
            } => {
                let size = u16::try_from(contents.len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes();
                match *record_len {
                    0 => tlv(&mut fcp, 0x82, &[0x41, 0x21]),
                    len => {
                        let count = contents.len().checked_div(len).unwrap_or(0);
                        let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
                        let count = u8::try_from(count).unwrap_or(u8::MAX);
                        tlv(&mut fcp, 0x82, &[0x42, 0x21, high, low, count]);
                    }
                }
                tlv(&mut fcp, 0x83, &[fid_high, fid_low]);
                tlv(&mut fcp, 0x8A, &[0x05]);
                let in_adf = self.in_adf(node);
                tlv(&mut fcp, 0x8B, &[arr_fid(in_adf) as u8, 0x06, *rule as u8]);
                tlv(&mut fcp, 0x80, &size);
                match sfi {
                    Some(sfi) => tlv(&mut fcp, 0x88, &[sfi << 3]),
                    None => tlv(&mut fcp, 0x88, &[]),
                }
            }
        }
        let mut template = Vec::new();
        tlv(&mut template, 0x62, &fcp);
        Ok(template)
    }

    fn in_adf(&self, node: Node) -> bool {
        let mut node = node;
        while node != ROOT {
            if self.is_adf(node) {
                return true;
            }
            node = self.parent(node);
        }
        false
    }
}

/// First octet of EF_ARR's file identifier: 2F06 under the MF, 6F06 in an ADF.
enum ArrFid {
    Mf = 0x2F,
    Adf = 0x6F,
}

const fn arr_fid(in_adf: bool) -> ArrFid {
    if in_adf { ArrFid::Adf } else { ArrFid::Mf }
}

/// Tag, length (one octet, or two above 127) and value.
pub(super) fn tlv(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    match u8::try_from(value.len()) {
        Ok(len) if len < 0x80 => out.push(len),
        Ok(len) => out.extend_from_slice(&[0x81, len]),
        Err(_) => {
            let [high, low] = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes();
            out.extend_from_slice(&[0x82, high, low]);
        }
    }
    out.extend_from_slice(value);
}
