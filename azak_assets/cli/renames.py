"""A renamed schedule or sensor keeps its on/off state and its cursor.

Belongs here: moving Dagster's state from an old name to its new one, before a daemon starts: in `azak up`, and as
`python -m azak_assets.cli.renames` in containers. Does not belong here: the names (`renamed`); the ticks of an old
name, which stay where they are.
"""

from collections.abc import Mapping

import dagster as dg

from azak_assets.renamed import SCHEDULES


def move_instigator_states(instance: dg.DagsterInstance, renamed: Mapping[str, str] = SCHEDULES) -> list[str]:
    """Move the state of each old name to its new name; returns the new names that received one.

    A second call finds nothing to do. A state that a new name already has is the newer one and stays. A process that
    dies in between leaves both states, and the next call removes the old one.
    """
    states = instance.all_instigator_state()
    taken = {state.selector_id for state in states}
    moved = []
    for state in states:
        new = renamed.get(state.instigator_name)
        if new is None:
            continue
        # Dagster finds a state by code location and name, so the new origin differs in its name alone.
        origin = type(state.origin)(repository_origin=state.origin.repository_origin, instigator_name=new)
        kept = type(state)(origin, state.instigator_type, state.status, state.instigator_data)
        if kept.selector_id not in taken:
            instance.add_instigator_state(kept)
            moved.append(new)
        # Stopped first: where the port of the code server has changed since, Dagster does not delete the row, and its
        # daemon would look for a running schedule that the code location lacks.
        instance.update_instigator_state(state.with_status(type(state.status).STOPPED))
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    return sorted(moved)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as own:
        for name in move_instigator_states(own):
            print(f"{name}: on/off state and cursor taken over from its earlier name")  # noqa: T201
