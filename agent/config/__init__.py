# SPDX-License-Identifier: Apache-2.0
"""The configuration: one TOML file, typed, frozen; the only place where raw dictionaries are seen.

``sections`` and ``collecting`` say what can be set and with which defaults, ``values`` holds a value against
its annotation, ``rules`` says what must hold between values, ``reading`` makes a `Config` of a file and
``arguments`` one of a command line. Nothing starts half configured: whatever is wrong is a `ConfigError` that
names file, key, value and what is accepted.
"""

from agent.config.arguments import config_from_arguments, parse_dbc_arguments, with_arguments
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.config.reading import Problem, inspect_config, load_config
from agent.config.rules import demo_car_dbc, gnss_dbc
from agent.config.sections import (
    AgentConfig,
    BatchConfig,
    BusConfig,
    Config,
    DataPlanConfig,
    LogConfig,
    ModemConfig,
    MqttConfig,
    SpoolConfig,
    VehicleConfig,
)

__all__ = [
    "AgentConfig",
    "BatchConfig",
    "BusConfig",
    "CollectConfig",
    "Config",
    "DataPlanConfig",
    "LogConfig",
    "ModemConfig",
    "MqttConfig",
    "Priority",
    "Problem",
    "SpoolConfig",
    "TriggerConfig",
    "VehicleConfig",
    "config_from_arguments",
    "demo_car_dbc",
    "gnss_dbc",
    "inspect_config",
    "load_config",
    "parse_dbc_arguments",
    "with_arguments",
]
