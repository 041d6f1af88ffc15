//! The commands of ETSI TS 102 221 clause 11.1 that work on files, PINs and channels.

use zeroize::Zeroizing;

use super::apdu::{Command, Status};
use super::files::{Access, Body, Node, ROOT, Rule, tlv};
use super::memory::{CardMemory, Slot};
use super::pins::KeyReference;
use super::{Answer, Card, Channel, FRESH};

/// GET RESPONSE (clause 11.1.21 of TS 102 221, T=0): what the command before left.
pub(super) fn get_response(command: &Command<'_>, waiting: &mut Vec<u8>) -> Answer {
    if !matches!(command.cla, 0x00..=0x03 | 0x80..=0x83) {
        return Err(Status::CLASS_NOT_SUPPORTED);
    }
    if command.p1_p2() != 0 {
        return Err(Status::INCORRECT_PARAMETERS);
    }
    if !command.data.is_empty() {
        return Err(Status::WRONG_LENGTH);
    }
    if waiting.is_empty() {
        return Err(Status::CONDITIONS_NOT_SATISFIED);
    }
    Ok(Zeroizing::new(std::mem::take(waiting)))
}

impl<M: CardMemory> Card<M> {
    /// SELECT (clause 11.1.1). P2 0C gives no data, 04 and 00 the FCP template.
    pub(super) fn select(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let channel = *self.channel(number)?;
        let (wants_data, occurrence) = match command.p2 {
            p2 @ (0x00..=0x03 | 0x40) => (true, p2 & 3),
            p2 @ (0x04..=0x07 | 0x44) => (true, p2 & 3),
            p2 @ (0x0C..=0x0F | 0x4C) => (false, p2 & 3),
            _ => return Err(Status::INCORRECT_PARAMETERS),
        };
        let fid = || {
            <[u8; 2]>::try_from(command.data)
                .map(u16::from_be_bytes)
                .map_err(|_| Status::LC_INCONSISTENT)
        };
        let found = match command.p1 {
            0x00 if command.data.is_empty() => ROOT,
            0x00 => self
                .files
                .by_fid(channel.directory, channel.application, fid()?)
                .ok_or(Status::FILE_NOT_FOUND)?,
            0x01 => {
                let child = self.files.child(channel.directory, fid()?);
                child
                    .filter(|node| self.files.is_directory(*node))
                    .ok_or(Status::FILE_NOT_FOUND)?
            }
            0x03 if command.data.is_empty() => self.files.get(channel.directory)?.parent,
            0x03 => return Err(Status::LC_INCONSISTENT),
            0x04 => {
                let terminates = command.p2 & 0x40 != 0;
                return self.select_application(
                    command.data,
                    number,
                    occurrence,
                    wants_data,
                    terminates,
                );
            }
            0x08 => self
                .files
                .by_path(ROOT, channel.application, command.data)?,
            0x09 => self
                .files
                .by_path(channel.directory, channel.application, command.data)?,
            _ => return Err(Status::INCORRECT_PARAMETERS),
        };
        self.enter(number, found, wants_data)
    }

    fn select_application(
        &mut self,
        name: &[u8],
        number: usize,
        occurrence: u8,
        wants_data: bool,
        terminates: bool,
    ) -> Answer {
        if name.is_empty() || name.len() > 16 {
            return Err(Status::LC_INCONSISTENT);
        }
        let matching = self.files.applications(name);
        let channel = self.channel(number)?;
        let at = channel
            .application
            .and_then(|current| matching.iter().position(|node| *node == current));
        let chosen = match (occurrence, at) {
            // First or only: the application that is active already, if the name fits it (clause 8.5.1.2).
            (0, Some(at)) => matching.get(at),
            (0, None) | (2, None) => matching.first(),
            (1, _) | (3, None) => matching.last(),
            (2, Some(at)) => matching.get(at + 1),
            (_, Some(at)) => at.checked_sub(1).and_then(|at| matching.get(at)),
            _ => None,
        };
        let adf = *chosen.ok_or(Status::FILE_NOT_FOUND)?;
        if terminates {
            channel.application = None;
            channel.directory = ROOT;
            channel.file = None;
            return Ok(Zeroizing::new(Vec::new()));
        }
        channel.application = Some(adf);
        self.enter(number, adf, wants_data)
    }

    fn enter(&mut self, number: usize, node: Node, wants_data: bool) -> Answer {
        let is_directory = self.files.is_directory(node);
        let parent = self.files.get(node)?.parent;
        let channel = self.channel(number)?;
        channel.directory = if is_directory { node } else { parent };
        channel.file = (!is_directory).then_some(node);
        channel.record = 0;
        if wants_data {
            self.fcp(node)
        } else {
            Ok(Zeroizing::new(Vec::new()))
        }
    }

    fn fcp(&self, node: Node) -> Answer {
        let bit = |key, bit: u8| if self.pins.enabled(key) { bit } else { 0 };
        let enabled = bit(KeyReference::Pin1, 0x80)
            | bit(KeyReference::Pin2, 0x40)
            | bit(KeyReference::Adm1, 0x20);
        self.files.fcp(node, enabled).map(Zeroizing::new)
    }

    /// STATUS (clause 11.1.2).
    pub(super) fn status(&mut self, command: &Command<'_>, number: usize) -> Answer {
        if command.p1 > 2 {
            return Err(Status::INCORRECT_PARAMETERS);
        }
        let channel = *self.channel(number)?;
        match command.p2 {
            0x00 => self.fcp(channel.directory),
            0x01 => {
                let mut name = Vec::new();
                if let Some(adf) = channel.application
                    && let Body::Directory { aid: Some(aid) } = &self.files.get(adf)?.body
                {
                    tlv(&mut name, 0x84, aid);
                }
                Ok(Zeroizing::new(name))
            }
            0x0C => Ok(Zeroizing::new(Vec::new())),
            _ => Err(Status::INCORRECT_PARAMETERS),
        }
    }

    /// READ BINARY (clause 11.1.3).
    pub(super) fn read_binary(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let (node, offset) = self.binary(command, number)?;
        let (rule, record_len, contents) = self.elementary(node)?;
        is_transparent(record_len)?;
        self.allow(rule.read())?;
        if !command.data.is_empty() {
            return Err(Status::WRONG_LENGTH);
        }
        let rest = contents
            .get(offset..)
            .filter(|rest| !rest.is_empty())
            .ok_or(Status::WRONG_PARAMETERS)?;
        let octets = match command.le {
            None => return Err(Status::wrong_le(rest.len().min(256))),
            Some(256) => rest.get(..256).unwrap_or(rest),
            Some(le) => rest.get(..le).ok_or(Status::wrong_le(rest.len()))?,
        };
        Ok(Zeroizing::new(octets.to_vec()))
    }

    /// UPDATE BINARY (clause 11.1.4).
    pub(super) fn update_binary(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let (node, offset) = self.binary(command, number)?;
        let (rule, record_len, contents) = self.elementary(node)?;
        is_transparent(record_len)?;
        self.allow(rule.update())?;
        if command.data.is_empty() {
            return Err(Status::WRONG_LENGTH);
        }
        if offset >= contents.len() {
            return Err(Status::WRONG_PARAMETERS);
        }
        self.write(node, offset, command.data)
    }

    /// READ RECORD (clause 11.1.5).
    pub(super) fn read_record(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let (node, range, rule) = self.record(command, number, |rule| rule.read())?;
        self.allow(rule)?;
        if !command.data.is_empty() {
            return Err(Status::WRONG_LENGTH);
        }
        let (_, _, contents) = self.elementary(node)?;
        let record = contents.get(range).ok_or(Status::RECORD_NOT_FOUND)?;
        Ok(Zeroizing::new(record.to_vec()))
    }

    /// UPDATE RECORD (clause 11.1.6).
    pub(super) fn update_record(&mut self, command: &Command<'_>, number: usize) -> Answer {
        let (node, range, rule) = self.record(command, number, |rule| rule.update())?;
        self.allow(rule)?;
        if command.data.len() != range.len() {
            return Err(Status::WRONG_LENGTH);
        }
        self.write(node, range.start, command.data)
    }

    /// VERIFY, CHANGE, DISABLE, ENABLE and UNBLOCK PIN.
    pub(super) fn pin(&mut self, command: &Command<'_>) -> Answer {
        let memory = &mut self.memory;
        let mut store = |record: &[u8]| {
            memory
                .store(Slot::Pins, record)
                .map_err(|_| Status::MEMORY_PROBLEM)
        };
        self.pins.command(command, &mut store)?;
        Ok(Zeroizing::new(Vec::new()))
    }

    /// MANAGE CHANNEL (clause 11.1.17).
    pub(super) fn manage_channel(&mut self, command: &Command<'_>, number: usize) -> Answer {
        match (command.p1, command.p2) {
            (0x00, 0x00) => {
                // Opened from the basic channel: at the MF. From another: where that one is.
                let origin = *self.channel(number)?;
                let (free, slot) = self
                    .channels
                    .iter_mut()
                    .zip(0u8..)
                    .find_map(|(slot, free)| slot.is_none().then_some((free, slot)))
                    .ok_or(Status::FUNCTION_NOT_SUPPORTED)?;
                *slot = Some(if number == 0 {
                    FRESH
                } else {
                    Channel {
                        file: None,
                        record: 0,
                        ..origin
                    }
                });
                Ok(Zeroizing::new(vec![free]))
            }
            (0x80, closed @ 1..=3) => match self.channels.get_mut(usize::from(closed)) {
                Some(slot @ Some(_)) => {
                    *slot = None;
                    Ok(Zeroizing::new(Vec::new()))
                }
                _ => Err(Status::CHANNEL_NOT_SUPPORTED),
            },
            _ => Err(Status::INCORRECT_PARAMETERS),
        }
    }

    /// The EF and offset that P1 P2 name: by SFI, or in the current EF.
    fn binary(&mut self, command: &Command<'_>, number: usize) -> Result<(Node, usize), Status> {
        let channel = *self.channel(number)?;
        if command.p1 & 0x80 == 0 {
            let node = channel.file.ok_or(Status::NO_EF_SELECTED)?;
            return Ok((node, usize::from(command.p1_p2())));
        }
        if command.p1 & 0x60 != 0 {
            return Err(Status::INCORRECT_PARAMETERS);
        }
        let node = self.files.by_sfi(channel.directory, command.p1 & 0x1F)?;
        self.enter(number, node, false)?;
        Ok((node, usize::from(command.p2)))
    }

    /// The record that P1 P2 name, and the condition that `access` picks of the file's rule.
    fn record(
        &mut self,
        command: &Command<'_>,
        number: usize,
        access: fn(Rule) -> Access,
    ) -> Result<(Node, std::ops::Range<usize>, Access), Status> {
        let channel = *self.channel(number)?;
        let node = match command.p2 >> 3 {
            0 => channel.file.ok_or(Status::NO_EF_SELECTED)?,
            sfi => {
                let node = self.files.by_sfi(channel.directory, sfi)?;
                self.enter(number, node, false)?;
                node
            }
        };
        let (rule, record_len, contents) = self.elementary(node)?;
        let count = contents
            .len()
            .checked_div(record_len)
            .ok_or(Status::INCOMPATIBLE_FILE)?;
        let pointer = self
            .channels
            .get(number)
            .and_then(Option::as_ref)
            .map_or(0, |channel| channel.record);
        let (wanted, moves) = match (command.p2 & 7, command.p1) {
            (4, 0) => (pointer, false),
            (4, absolute) => (usize::from(absolute), false),
            (2, 0) => (pointer + 1, true),
            (3, 0) if pointer == 0 => (count, true),
            (3, 0) => (pointer - 1, true),
            _ => return Err(Status::INCORRECT_PARAMETERS),
        };
        if wanted == 0 || wanted > count {
            return Err(Status::RECORD_NOT_FOUND);
        }
        if moves {
            self.channel(number)?.record = wanted;
        }
        let start = (wanted - 1) * record_len;
        Ok((node, start..start + record_len, access(rule)))
    }

    fn elementary(&self, node: Node) -> Result<(Rule, usize, &[u8]), Status> {
        match &self.files.get(node)?.body {
            Body::Elementary {
                rule,
                record_len,
                contents,
                ..
            } => Ok((*rule, *record_len, contents)),
            Body::Directory { .. } => Err(Status::NO_EF_SELECTED),
        }
    }

    /// Writes through the card's memory first.
    fn write(&mut self, node: Node, offset: usize, octets: &[u8]) -> Answer {
        let (_, _, contents) = self.elementary(node)?;
        let mut updated = contents.to_vec();
        let place = offset
            .checked_add(octets.len())
            .and_then(|end| updated.get_mut(offset..end));
        place.ok_or(Status::WRONG_LENGTH)?.copy_from_slice(octets);
        let slot = self.slot(node);
        self.memory
            .store(slot, &updated)
            .map_err(|_| Status::MEMORY_PROBLEM)?;
        if let Some(contents) = self.files.contents_mut(node) {
            *contents = updated;
        }
        Ok(Zeroizing::new(Vec::new()))
    }

    pub(super) fn allow(&self, access: Access) -> Result<(), Status> {
        let allowed = match access {
            Access::Always => true,
            Access::Never => false,
            Access::Key(key) => self.pins.satisfied(key),
        };
        if allowed {
            Ok(())
        } else {
            Err(Status::SECURITY_NOT_SATISFIED)
        }
    }
}

fn is_transparent(record_len: usize) -> Result<(), Status> {
    if record_len == 0 {
        Ok(())
    } else {
        Err(Status::INCOMPATIBLE_FILE)
    }
}
