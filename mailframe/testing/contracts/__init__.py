"""What each seam promises, as tests to be mixed into a plugin's own.

    from twisted.trial.unittest import SynchronousTestCase
    from mailframe.testing.contracts import RoutingPolicyContract

    class SmarthostsTests(RoutingPolicyContract, SynchronousTestCase):
        def make_policy(self):
            return Smarthosts(...)

The tests call by keyword, as the server does. Each says what a user would lose if it failed.
"""

from mailframe.testing.contracts.accounts import AccountsContract
from mailframe.testing.contracts.authorisation import RelayAuthorisationContract
from mailframe.testing.contracts.delivery import DeliveryAgentContract
from mailframe.testing.contracts.queue import DurableQueueStorageContract, QueueStorageContract
from mailframe.testing.contracts.routing import RoutingPolicyContract
from mailframe.testing.contracts.storage_due_times import DueTimesContract
from mailframe.testing.contracts.storage_power_cuts import PowerCutContract

__all__ = [
    "AccountsContract",
    "DeliveryAgentContract",
    "DueTimesContract",
    "DurableQueueStorageContract",
    "PowerCutContract",
    "QueueStorageContract",
    "RelayAuthorisationContract",
    "RoutingPolicyContract",
]
