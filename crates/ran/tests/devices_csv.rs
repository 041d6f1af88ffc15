//! The device CSV: what it gives, and what each mistake is called.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests: a failure is a panic.

use ambit_device::{DeviceForm, DeviceType};
use ambit_protocol::area::Plmn;
use ambit_protocol::{Snid, Suite, TagLen};
use ambit_ran::devices_csv::{parse_device_id, read_devices};
use ambit_ran::frame::SiteReader;

const KEY: &str = "000102030405060708090a0b0c0d0e0f";

#[test]
fn every_column_is_read() {
    let text = format!(
        "device_id,device_type,suite,form,key,tag_len,fleet\n\
         0aFF,2c,3,counter,{KEY},16,cold chain\n\
         urn:epc:id:sgtin:0614141.107346.2018,,,,{KEY},,\n\
         abc,1,2,dt,{KEY},4,x\n"
    );
    let rows = read_devices(text.as_bytes()).unwrap();
    let [first, second, third] = &rows[..] else {
        panic!("three devices expected");
    };
    assert_eq!(first.device_id, [0x0A, 0xFF]);
    assert_eq!(first.device_type, DeviceType::Type2c);
    assert_eq!(
        (first.suite, first.form),
        (Suite::AsconXof128, DeviceForm::Counter)
    );
    assert_eq!(
        (first.tag_len, first.fleet.as_str()),
        (TagLen::T16, "cold chain")
    );
    assert_eq!(
        first.key.expose(),
        &std::array::from_fn::<u8, 16, _>(|at| at as u8)
    );
    assert_eq!(second.device_id, b"urn:epc:id:sgtin:0614141.107346.2018");
    assert_eq!(second.device_type, DeviceType::Type2a);
    assert_eq!(
        (second.suite, second.form),
        (Suite::AesCmac, DeviceForm::Beacon)
    );
    assert_eq!(
        (second.tag_len, second.fleet.as_str()),
        (TagLen::T8, "default")
    );
    assert_eq!((third.line, third.device_id.as_slice()), (4, &b"abc"[..]));
    assert_eq!(third.form, DeviceForm::Dt);
}

#[test]
fn columns_stand_in_any_order_and_some_may_be_left_out() {
    let text = format!("\u{feff}key, device_id\r\n {KEY} , 01 \r\n");
    let rows = read_devices(text.as_bytes()).unwrap();
    assert_eq!((rows.len(), rows[0].device_id.as_slice()), (1, &[1][..]));
}

#[test]
fn each_mistake_names_its_line_and_column() {
    let long_id = "x".repeat(129);
    for (text, expected) in [
        (
            format!("device_id,key,colour\n1,{KEY},red\n"),
            "line 1, column `colour`: unknown",
        ),
        (
            format!("device_id,key,key\n1,{KEY},{KEY}\n"),
            "line 1, column `key`: named twice",
        ),
        ("device_id\n1\n".to_owned(), "line 1: no column `key`"),
        (format!("key\n{KEY}\n"), "line 1: no column `device_id`"),
        (String::new(), "line 1: no column `device_id`"),
        (
            format!("device_id,key\n01,{KEY}\n,{KEY}\n"),
            "line 3, column `device_id`: must be 1 to 128",
        ),
        (
            format!("device_id,key\n{long_id},{KEY}\n"),
            "line 2, column `device_id`: must be 1 to 128",
        ),
        (
            "device_id,key\n01,0011\n".to_owned(),
            "line 2, column `key`: must be 32 hex",
        ),
        (
            format!("device_id,key\n01,x{}\n", &KEY[1..]),
            "line 2, column `key`: must be 32 hex",
        ),
        (
            format!("device_id,key,suite\n01,{KEY},4\n"),
            "line 2, column `suite`: must be 1, 2 or 3",
        ),
        (
            format!("device_id,key,tag_len\n01,{KEY},5\n"),
            "line 2, column `tag_len`: must be 4, 8 or 16",
        ),
        (
            format!("device_id,key,form\n01,{KEY},loud\n"),
            "line 2, column `form`: must be beacon",
        ),
        (
            format!("device_id,key,device_type\n01,{KEY},2\n"),
            "line 2, column `device_type`: must be 1",
        ),
        (
            format!("device_id,key\n01,{KEY}\n0x,{KEY}\n01,{KEY}\n"),
            "line 4, column `device_id`: the same device stands on line 2",
        ),
        (format!("device_id,key\n01,{KEY}\n02\n"), "line 3: "),
    ] {
        let error = read_devices(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} for {text:?}");
        assert!(!error.contains(&KEY[4..]), "a key in an error: {error}");
    }
}

#[test]
fn a_device_id_is_hex_or_text() {
    assert_eq!(parse_device_id("00Ff"), Ok(vec![0, 0xFF]));
    assert_eq!(parse_device_id("00f"), Ok(b"00f".to_vec()));
    assert_eq!(parse_device_id("00fg"), Ok(b"00fg".to_vec()));
    assert_eq!(parse_device_id("é"), Ok("é".as_bytes().to_vec()));
    assert!(parse_device_id("").is_err());
    assert!(parse_device_id(&"00".repeat(128)).is_ok());
    assert!(parse_device_id(&"00".repeat(129)).is_err());
    assert!(parse_device_id(&"z".repeat(129)).is_err());
}

#[test]
fn a_row_becomes_a_device() {
    let text = format!("device_id,key,device_type,tag_len\n01,{KEY},1,16\n02,{KEY},2b,\n");
    let reader = SiteReader {
        gnb: 1,
        reader_index: 7,
    };
    let snid = Snid::new(Plmn::new("001", "01").unwrap(), None);
    let specs: Vec<_> = read_devices(text.as_bytes())
        .unwrap()
        .into_iter()
        .map(|row| row.into_spec(snid, reader))
        .collect();
    assert_eq!(
        (specs[0].profile.form, specs[0].profile.tag_len),
        (DeviceForm::Dt, TagLen::T16)
    );
    assert_eq!(
        (specs[1].profile.form, specs[1].reader),
        (DeviceForm::Beacon, reader)
    );
    assert_eq!(
        (specs[1].device_id.as_slice(), specs[1].profile.snid),
        (&[2][..], snid)
    );
    let speaks = format!("device_id,key,device_type,form\n01,{KEY},1,beacon\n");
    let error = read_devices(speaks.as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("line 2, column `form`: must be dt"),
        "{error}"
    );
}
