import pytest
from synthetic_flow import synthetic_flow


@pytest.fixture(scope="session")
def made_up_flow():
    return synthetic_flow()


@pytest.fixture(scope="session")
def flow_without_nulls():
    return synthetic_flow(nulls=0)
