"""An operator whose lists expire between two pages: it lists anew, and lives on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.apiserver import ApiServer
from support.chaos_proxy import ChaosProxy
from support.embedded_operator import User, eventually, operator_config
from support.faults import Fault, FaultPlan
from support.operator_process import OperatorProcess

pytestmark = pytest.mark.integration


async def test_a_list_that_expired_is_begun_again(api_server: ApiServer, tmp_path: Path) -> None:
    user = User(api_server, api_server.new_namespace("lists"))
    for number in range(5):
        await user.create(f"job-{number}", runPolicy={"suspend": True})
    with ChaosProxy(api_server, FaultPlan(1, {Fault.GONE_LIST: 1.0}), page_size=2) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
        operator = OperatorProcess(operator_config("http://127.0.0.1:9", user.namespace), kubeconfig, tmp_path)
        operator.start()
        try:
            await eventually(lambda: _injected(proxy, 2))
            assert operator.running, operator.log_end()
            proxy.calm = True
            await user.until("job-4", lambda status: status.get("state") == "Suspended")
            await asyncio.to_thread(operator.wait_healthy)

            await user.suspend("job-4", False)
            await user.until("job-4", lambda status: status.get("state") == "Preparing", 20)
            assert operator.running, operator.log_end()
        finally:
            await asyncio.to_thread(operator.stop)


async def _injected(proxy: ChaosProxy, times: int) -> bool:
    return proxy.injected[Fault.GONE_LIST] >= times
