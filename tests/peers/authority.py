"""A private authority and the certificates that it signs, made by `openssl` in a folder of the suite's."""

import subprocess


def openssl(*line):
    """Runs openssl."""
    said = subprocess.run(["openssl", *line], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def authority(folder, name):
    """A private authority; the path of its certificate."""
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem",
        "-addext", "basicConstraints=critical,CA:TRUE",
    )
    return f"{folder}/{name}.pem"


def signed(folder, name, host, by):
    """A server's certificate for a host, signed by an authority: the texts of both files."""
    stem = f"{folder}/server-{name}"
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
        "-keyout", f"{stem}.key", "-out", f"{stem}.csr",
    )
    with open(f"{stem}.ext", "w", encoding="utf-8") as out:
        out.write(f"subjectAltName={host}\nbasicConstraints=CA:FALSE\n")
    openssl(
        "x509", "-req", "-in", f"{stem}.csr", "-days", "2", "-extfile", f"{stem}.ext",
        "-CA", f"{folder}/{by}.pem", "-CAkey", f"{folder}/{by}.key", "-CAcreateserial",
        "-out", f"{stem}.pem",
    )
    with open(f"{stem}.pem", encoding="utf-8") as pem, open(f"{stem}.key", encoding="utf-8") as key:
        return pem.read(), key.read()
