"""Policies in words have one form, whichever jobs they came with."""

from __future__ import annotations

from itertools import permutations

import pytest

from harvester.policy_words import canonical

HERE, THERE = "the box 1,2,3,4", "state.geojson and more.gpkg:a, b, grown by 250 m"


@pytest.mark.parametrize(
    ("policies", "one"),
    [
        ([f"LODs 0-5, {HERE}", f"LODs 6-8, {HERE}"], [f"LODs 0-8, {HERE}"]),
        ([f"LODs 0-5, {HERE}", f"LODs 7,9-12, {HERE}"], [f"LODs 0-5,7,9-12, {HERE}"]),
        ([f"LODs 0-5, {HERE}", f"LODs 6-8, {THERE}"], [f"LODs 0-5, {HERE}", f"LODs 6-8, {THERE}"]),
        ([f"LODs 3,1,2, {THERE}"], [f"LODs 1-3, {THERE}"]),
        ([f"LODs 3, {HERE}", f"all LODs, {HERE}"], [f"all LODs, {HERE}"]),
        ([f"LODs 3, {HERE}", f"all LODs, {THERE}"], [f"all LODs, {THERE}", f"LODs 3, {HERE}"]),
        ([f"LODs 3-, {HERE}", f"LODs 3, {HERE}"], [f"LODs 3-, {HERE}", f"LODs 3, {HERE}"]),
        (["scales 1:1,000; 1:500, all of it", "anything else"], ["anything else", "scales 1:1,000; 1:500, all of it"]),
        ([], []),
    ],
)
def test_the_lods_of_an_area_are_one_policy_in_whatever_order_they_came(policies, one):
    assert {canonical(order) for order in permutations(policies)} == {tuple(one)}
    assert canonical(one) == tuple(one)
