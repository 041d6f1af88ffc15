#!/usr/bin/env python3
"""Read NGAP PDUs with pycrate, a decoder that shares nothing with ours.

    crosscheck.py NGAP.asn < pdus.hex > pdus.txt

NGAP.asn is the ASN.1 of TS 38.413 with the Ambient IoT procedures. Each line of the input ends in the
octets of one PDU in hex; what stands before is its name. Prints the value of each PDU. Fails when one
does not decode, or when pycrate would encode its value to other octets.
"""

import contextlib
import pathlib
import sys
import tempfile

from pycrate_asn1c.asnproc import PycrateGenerator, compile_text, generate_modules


def main():
    pdu = codec(sys.argv[1])
    failed = False
    for line in sys.stdin:
        *name, octets = line.split()
        octets = bytes.fromhex(octets)
        pdu.from_aper(octets)
        print(f"== {' '.join(name)} ({len(octets)} octets)")
        print(pdu.to_asn1())
        if pdu.to_aper() != octets:
            failed = True
            print(f"!! pycrate encodes this as {pdu.to_aper().hex()}")
    sys.exit(failed)


def codec(asn1):
    """The NGAP-PDU of an ASN.1 file: pycrate compiles it to a module, which is then imported."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        compile_text(pathlib.Path(asn1).read_text(encoding="utf-8"))
        generate_modules(PycrateGenerator, str(pathlib.Path(folder, "ngap_of_asn1.py")))
        sys.path.insert(0, folder)
        import ngap_of_asn1

        return ngap_of_asn1.NGAP_PDU_Descriptions.NGAP_PDU


if __name__ == "__main__":
    main()
