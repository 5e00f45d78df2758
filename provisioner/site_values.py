"""The types of the values in hosts.toml: Python types with the checks of site_syntax.py attached, for pydantic."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from provisioner import site_syntax


def _list_to_tuple(value: Any) -> Any:
    # TOML has arrays and the models are frozen; strict validation would not turn one into the other.
    return tuple(value) if isinstance(value, list) else value


def _unique(items: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [item for index, item in enumerate(items) if item in items[:index]]:
        raise ValueError(f'names "{twice[0]}" twice; remove one of them')
    return items


AsTuple = BeforeValidator(_list_to_tuple)
Unique = AfterValidator(_unique)

Text = Annotated[str, AfterValidator(site_syntax.printable)]
Name = Annotated[Text, AfterValidator(site_syntax.name)]
User = Annotated[Text, AfterValidator(site_syntax.user)]
OptionalUser = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.user))]
Interface = Annotated[Text, AfterValidator(site_syntax.interface)]
OptionalInterface = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.interface))]
NodeAddress = Annotated[Text, AfterValidator(site_syntax.node_address)]
SshAddress = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.ssh_address))]
Port = Annotated[int, Field(ge=1, le=65535)]
Cidr = Annotated[Text, AfterValidator(site_syntax.cidr)]
PoolRange = Annotated[Text, AfterValidator(site_syntax.pool_range)]
Client = Annotated[Text, AfterValidator(site_syntax.client)]
Endpoint = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.endpoint))]
Jump = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.jump))]
Url = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.url))]
SudoPassword = Annotated[Text, AfterValidator(site_syntax.sudo_password)]
LabelKey = Annotated[Text, AfterValidator(site_syntax.label_key)]
LabelValue = Annotated[Text, AfterValidator(site_syntax.label_value)]
Taint = Annotated[Text, AfterValidator(site_syntax.taint)]
Export = Annotated[Text, AfterValidator(site_syntax.export)]
Size = Annotated[Text, AfterValidator(site_syntax.size)]
Duration = Annotated[Text, AfterValidator(site_syntax.duration)]
KubernetesVersion = Annotated[Text, AfterValidator(site_syntax.kubernetes)]
Release = Annotated[Text, AfterValidator(site_syntax.optional(site_syntax.release))]
Flag = Annotated[Text, AfterValidator(site_syntax.flag)]
Workload = Annotated[Text, AfterValidator(site_syntax.workload)]
Plain = Annotated[dict[str, Any], AfterValidator(site_syntax.plain)]
