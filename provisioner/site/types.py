"""The types of the values in hosts.toml: Python types with the checks of syntax.py attached, for pydantic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from provisioner.site import syntax


def _list_to_tuple(value: Any) -> Any:
    # The models are frozen, and strict validation does not convert TOML's arrays to tuples.
    return tuple(value) if isinstance(value, list) else value


def _unique(items: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [item for index, item in enumerate(items) if item in items[:index]]:
        raise ValueError(f'lists "{twice[0]}" twice; remove one')
    return items


AsTuple = BeforeValidator(_list_to_tuple)
Unique = AfterValidator(_unique)

Text = Annotated[str, AfterValidator(syntax.printable)]
Name = Annotated[Text, AfterValidator(syntax.name)]
User = Annotated[Text, AfterValidator(syntax.user)]
OptionalUser = Annotated[Text, AfterValidator(syntax.optional(syntax.user))]
Interface = Annotated[Text, AfterValidator(syntax.interface)]
OptionalInterface = Annotated[Text, AfterValidator(syntax.optional(syntax.interface))]
NodeAddress = Annotated[Text, AfterValidator(syntax.node_address)]
VirtualAddress = Annotated[Text, AfterValidator(syntax.optional(syntax.node_address))]
SshAddress = Annotated[Text, AfterValidator(syntax.optional(syntax.ssh_address))]
Port = Annotated[int, Field(ge=1, le=65535)]
Cidr = Annotated[Text, AfterValidator(syntax.cidr)]
PoolRange = Annotated[Text, AfterValidator(syntax.pool_range)]
Client = Annotated[Text, AfterValidator(syntax.client)]
Endpoint = Annotated[Text, AfterValidator(syntax.optional(syntax.endpoint))]
Jump = Annotated[Text, AfterValidator(syntax.optional(syntax.jump))]
Url = Annotated[Text, AfterValidator(syntax.optional(syntax.url))]
Proxy = Annotated[Text, AfterValidator(syntax.optional(syntax.proxy))]
Unproxied = Annotated[Text, AfterValidator(syntax.unproxied)]
Fingerprint = Annotated[Text, AfterValidator(syntax.fingerprint)]
SudoPassword = Annotated[Text, AfterValidator(syntax.sudo_password)]
LabelKey = Annotated[Text, AfterValidator(syntax.label_key)]
LabelValue = Annotated[Text, AfterValidator(syntax.label_value)]
Taint = Annotated[Text, AfterValidator(syntax.taint)]
Export = Annotated[Text, AfterValidator(syntax.export)]
Size = Annotated[Text, AfterValidator(syntax.size)]
Duration = Annotated[Text, AfterValidator(syntax.duration)]
KubernetesVersion = Annotated[Text, AfterValidator(syntax.kubernetes)]
Release = Annotated[Text, AfterValidator(syntax.optional(syntax.release))]
Flag = Annotated[Text, AfterValidator(syntax.flag)]
Workload = Annotated[Text, AfterValidator(syntax.workload)]
JsonObject = Annotated[dict[str, Any], AfterValidator(syntax.json_value)]
