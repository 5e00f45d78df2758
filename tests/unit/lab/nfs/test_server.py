from provisioner.lab.nfs.server import exports

# As exportfs of nfs-utils 2.6.2 writes it.
ETAB = (
    "/srv/nfs\t192.168.56.10(rw,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,no_subtree_check,"
    "secure_locks,acl,no_pnfs,anonuid=65534,anongid=65534,sec=sys,rw,secure,root_squash,no_all_squash)\n"
    "/srv/nfs\t192.168.56.11(ro,sync,wdelay,hide,nocrossmnt,insecure,no_root_squash,no_all_squash,no_subtree_check,"
    "secure_locks,acl,no_pnfs,anonuid=65534,anongid=65534,sec=sys,ro,insecure,no_root_squash,no_all_squash)\n"
    "/srv/with\\040space\t*(rw,sync,secure,no_root_squash,all_squash,anonuid=1000,anongid=2000,sec=sys)\n"
)


def test_exports_in_ganeshas_words() -> None:
    text = exports(ETAB)
    first, second = text.split("EXPORT {")[1:]
    assert 'Path = "/srv/nfs"; Pseudo = "/srv/nfs"' in first
    assert "Access_Type = None;" in first, "who is not named has no access"
    assert (
        "CLIENT { Clients = 192.168.56.10; Access_Type = RW; Squash = Root_Squash; Anonymous_uid = 65534; "
        "Anonymous_gid = 65534; PrivilegedPort = true; }"
    ) in first
    assert "Clients = 192.168.56.11; Access_Type = RO; Squash = No_Root_Squash" in first
    assert "PrivilegedPort = false" in first
    assert 'Path = "/srv/with space"' in second
    assert "Clients = *; Access_Type = RW; Squash = All_Squash; Anonymous_uid = 1000; Anonymous_gid = 2000" in second


def test_an_export_keeps_its_number_whatever_else_is_exported() -> None:
    """File handles contain it: another number would make those that clients hold stale."""

    def number(text: str, path: str) -> str:
        line = next(line for line in text.splitlines() if f'Path = "{path}"' in line)
        return line.split("Export_Id = ")[1].split(";")[0]

    whole = exports(ETAB)
    assert number(exports(ETAB.splitlines()[0]), "/srv/nfs") == number(whole, "/srv/nfs")
    assert number(whole, "/srv/nfs") != number(whole, "/srv/with space")


def test_nothing_exported() -> None:
    assert exports("") == ""
