# SPDX-License-Identifier: Apache-2.0
"""The simulated car's drive: what physics and its control units make of the time since it was switched on.

Promise: `Drive.at` is a function of time (and of the noise it is handed); `SIGNALS` turns it into the
physical values of each message of ``dbc/demo_car.dbc``. Plausible, smooth, and consistent between messages,
no more. Units are those of the DBC file where a name says none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

Floats = NDArray[np.float64]

CYCLE_S = 20.0
_GRID_S = 0.01
_PEAKS_KMH = np.array([72.0, 50.0, 96.0, 60.0])
_GEAR_FROM_KMH = np.array([15.0, 29.0, 44.0, 60.0, 80.0])
_GEAR_RATIO = np.array([15.4, 8.9, 6.0, 4.5, 3.6, 3.0])
_IDLE_RPM = 780.0
_WHEEL_M = 1.94
_MASS_KG = 1450.0
_STEERING_RATIO = 15.5
_WHEELBASE_M = 2.68


def _profile() -> tuple[Floats, Floats, Floats]:
    """Speed as part of the peak on a grid over one cycle, its integral in seconds and its slope per
    second."""
    grid = np.arange(0, CYCLE_S + _GRID_S, _GRID_S)
    speed = np.interp(grid, [0, 1.5, 8.5, 10, 12, 13.5, 17.5, CYCLE_S], [0, 0, 0.97, 1, 0.94, 0.97, 0, 0])
    smooth = np.convolve(speed, np.hanning(121) / np.hanning(121).sum(), "same")
    return smooth, np.concatenate([[0.0], np.cumsum(smooth[:-1]) * _GRID_S]), np.gradient(smooth, _GRID_S)


_GRID = np.arange(0, CYCLE_S + _GRID_S, _GRID_S)
_SPEED, _DISTANCE, _SLOPE = _profile()


@dataclass(frozen=True, slots=True)
class Drive:
    """The car at n times; all arrays (n,).

    Noise is normal with deviation 1; speeds in km/h, angles in degrees, torques in Nm, distances in metres.
    """

    t: Floats
    noise: Floats
    noise2: Floats
    speed: Floats
    acceleration: Floats
    distance: Floats
    gear: Floats
    rpm: Floats
    shaft_rpm: Floats
    torque: Floats
    pedal: Floats
    brake: Floats
    angle: Floats
    yaw_rate: Floats
    warmth: Floats

    @classmethod
    def at(cls, t: Floats, rng: np.random.Generator) -> Self:
        """The car at times in seconds since it was switched on."""
        cycle, phase = np.divmod(t, CYCLE_S)
        peak = _PEAKS_KMH[cycle.astype(np.int64) % len(_PEAKS_KMH)]
        speed = peak * np.interp(phase, _GRID, _SPEED)
        acceleration = peak / 3.6 * np.interp(phase, _GRID, _SLOPE)
        done = np.concatenate([[0.0], np.cumsum(_PEAKS_KMH)])
        before = cycle // len(_PEAKS_KMH) * done[-1] + done[cycle.astype(np.int64) % len(_PEAKS_KMH)]
        distance = (before * _DISTANCE[-1] + peak * np.interp(phase, _GRID, _DISTANCE)) / 3.6
        gear = 1 + np.searchsorted(_GEAR_FROM_KMH, speed).astype(np.float64)
        shaft_rpm = speed / 3.6 / _WHEEL_M * 60 * _GEAR_RATIO[gear.astype(np.int64) - 1]
        noise, noise2 = rng.standard_normal((2, len(t)))
        force = _MASS_KG * acceleration + np.where(speed > 0.5, 180 + 0.03 * speed**2, 0)
        torque = np.clip(force * _WHEEL_M / 2 / np.pi / _GEAR_RATIO[gear.astype(np.int64) - 1], -45, 320)
        angle = 24 * np.sin(distance / 31) * np.sin(distance / 170) + 0.4 * np.sin(t * 1.7)
        yaw_rate = np.degrees(speed / 3.6 * np.tan(np.radians(angle / _STEERING_RATIO)) / _WHEELBASE_M)
        return cls(
            t=t,
            noise=noise,
            noise2=noise2,
            speed=speed,
            acceleration=acceleration,
            distance=distance,
            gear=gear,
            rpm=np.maximum(_IDLE_RPM + 6 * np.sin(2 * t), shaft_rpm) + 2 * noise,
            shaft_rpm=shaft_rpm,
            torque=torque + 0.5 * noise2,
            pedal=np.clip(torque / 3.1, 0, 100),
            brake=np.where(speed < 1, 12.0, np.clip(-acceleration - 0.6, 0, None) * 14),
            angle=angle,
            yaw_rate=yaw_rate,
            warmth=1 - np.exp(-t / 240),
        )

    def rows(self, rows: slice) -> Drive:
        """The same at some of the times."""
        return Drive(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


Values = dict[str, Floats]


def _engine_speed(d: Drive) -> Values:
    return {
        "ENGINE_STATE": np.where(d.t < 0.6, 2.0, 3.0),
        "ENGINE_RPM": np.where(d.t < 0.6, 210.0, d.rpm),
        "ENGINE_LOAD": np.clip(18 + d.torque / 3.9 + 0.2 * d.noise2, 0, 100),
        "IGNITION_ADVANCE": 12 + d.rpm / 250 - d.torque / 40,
        "INTAKE_PRESSURE": 38 + np.clip(d.torque, 0, None) / 2.6 + 0.3 * d.noise,
    }


def _engine_torque(d: Drive) -> Values:
    return {
        "TORQUE_ACTUAL": d.torque,
        "TORQUE_STATUS": np.where(d.torque < -5, 1.0, 0.0),
        "TORQUE_REQUESTED": d.torque - 0.5 * d.noise2,
        "TORQUE_LOSS": 14 + d.rpm / 400,
    }


def _transmission(d: Drive) -> Values:
    return {
        "GEAR_ENGAGED": d.gear,
        "INPUT_SHAFT_RPM": np.maximum(d.shaft_rpm + d.noise, 0),
        "OUTPUT_SHAFT_RPM": d.speed / 3.6 / _WHEEL_M * 60 * 3.7,
        "CLUTCH_SLIP": d.rpm - d.shaft_rpm,
        "SHIFT_IN_PROGRESS": (np.abs(d.speed - _GEAR_FROM_KMH[:, None]).min(axis=0) < 0.6).astype(np.float64),
        "SELECTOR": np.where(d.t < 0.9, 0.0, 3.0),
    }


def _accelerator(d: Drive) -> Values:
    return {
        "KICKDOWN": np.zeros_like(d.t),
        "PEDAL_VALIDITY": np.where(d.t < 0.3, 1.0, 0.0),
        "PEDAL_POSITION": d.pedal,
        "THROTTLE_POSITION": np.clip(4 + 0.9 * d.pedal + 0.05 * d.noise, 0, 100),
    }


def _brake_pressure(d: Drive) -> Values:
    return {
        "BRAKE_PEDAL": (d.brake > 0).astype(np.float64),
        "MASTER_PRESSURE": np.clip(d.brake + 0.05 * d.noise, 0, None),
        "PRESSURE_FRONT": np.clip(0.98 * d.brake + 0.1 * d.noise2, 0, None),
        "PRESSURE_REAR": np.clip(0.55 * d.brake + 0.1 * d.noise, 0, None),
    }


def _steering_angle(d: Drive) -> Values:
    return {
        "ANGLE_VALIDITY": np.where(d.t < 0.3, 1.0, 0.0),
        "ANGLE": d.angle,
        "ANGLE_RATE": d.speed / 3.6 * 0.7 * np.cos(d.distance / 31) * np.sin(d.distance / 170),
        "DRIVER_TORQUE": d.angle / 12 + 0.02 * d.noise,
    }


def _inertial(d: Drive) -> Values:
    return {
        "ACCELERATION_LONGITUDINAL": d.acceleration + 0.02 * d.noise,
        "ACCELERATION_LATERAL": d.speed / 3.6 * np.radians(d.yaw_rate) + 0.02 * d.noise2,
        "YAW_RATE": d.yaw_rate + 0.03 * d.noise,
        "SENSOR_VALIDITY": np.where(d.t < 0.3, 1.0, 0.0),
    }


def _wheels(d: Drive, noise: float) -> tuple[Floats, Floats, Floats, Floats]:
    curve = 0.77 * np.radians(d.yaw_rate) * 3.6
    shake = np.where(d.speed > 0.3, noise * d.noise, 0)
    return d.speed - curve + shake, d.speed + curve - shake, d.speed - curve, d.speed + curve


def _wheel_speeds(d: Drive) -> Values:
    names = ("WHEEL_SPEED_FL", "WHEEL_SPEED_FR", "WHEEL_SPEED_RL", "WHEEL_SPEED_RR")
    return {name: np.maximum(speed, 0) for name, speed in zip(names, _wheels(d, 0.03), strict=True)}


def _vehicle_speed(d: Drive) -> Values:
    return {
        "STANDSTILL": (d.speed < 0.3).astype(np.float64),
        "SPEED_VALIDITY": np.where(d.t < 0.3, 1.0, 0.0),
        "SPEED": d.speed,
        "DISTANCE_PULSES": d.distance % 1310.72,
    }


def _wheel_ticks(d: Drive) -> Values:
    ticks = d.distance / _WHEEL_M * 96
    names = ("TICKS_FL", "TICKS_FR", "TICKS_RL", "TICKS_RR")
    return {name: np.floor((ticks + 7 * place) % 4096) for place, name in enumerate(names)}


def _steering_assist(d: Drive) -> Values:
    return {
        "MOTOR_TORQUE": d.angle / 5 + 0.02 * d.noise,
        "MOTOR_CURRENT": d.angle * 0.9 + 0.2 * d.noise2,
        "MOTOR_TEMPERATURE": 24 + 18 * d.warmth,
        "ASSIST_STATE": np.where(d.t < 0.6, 0.0, 1.0),
    }


def _battery_pack(d: Drive) -> Values:
    current = -d.torque * d.rpm / 9549 / 0.36
    cell = 3.71 + current / 6000 - d.t / 90_000
    cells = {f"CELL_VOLTAGE_{n}": cell + 0.004 * np.sin(n * 2.1) + 0.0005 * d.noise for n in range(1, 9)}
    return {
        **cells,
        "PACK_VOLTAGE": 96 * cell,
        "PACK_CURRENT": current,
        "STATE_OF_CHARGE": np.maximum(68 - d.distance / 2500, 5),
        "CONTACTORS": np.where(d.t < 0.8, 1.0, 2.0),
        "TEMPERATURE_MIN": 19 + 6 * d.warmth,
        "TEMPERATURE_MAX": 21 + 9 * d.warmth,
        "COOLANT_INLET": 18 + 4 * d.warmth,
        "INSULATION": 4200 + 3 * d.noise,
    }


def _engine_temperatures(d: Drive) -> Values:
    return {
        "COOLANT": 20 + 70 * d.warmth,
        "OIL": 20 + 74 * d.warmth**2,
        "INTAKE_AIR": 22 + 8 * d.warmth,
        "EXHAUST": 140 + 480 * d.warmth + d.pedal,
        "OIL_PRESSURE": 1.2 + d.rpm / 1500,
        "FAN_SPEED": np.where(d.warmth > 0.9, 40.0, 0.0),
    }


def _body_lights(d: Drive) -> Values:
    indicating = (d.angle > 12) * 1.0 + (d.angle < -12) * 2.0
    return {
        "LOW_BEAM": np.ones_like(d.t),
        "BRAKE_LIGHT": (d.brake > 0).astype(np.float64),
        "INDICATOR": indicating,
        "AMBIENT_LIGHT": 5200 + 1800 * np.sin(d.distance / 90),
    }


def _body_doors(d: Drive) -> Values:
    return {
        "LOCKED": (d.distance > 20).astype(np.float64),
        "DOOR_FL": (d.t < 0.5).astype(np.float64),
        "WINDOW_FL": np.clip(40 - 8 * d.t, 0, 100),
    }


def _climate_control(d: Drive) -> Values:
    return {
        "CABIN_TEMPERATURE": 27 - 5.5 * d.warmth,
        "TARGET_TEMPERATURE": np.full_like(d.t, 21.5),
        "OUTSIDE_TEMPERATURE": 18.5 + 0.3 * np.sin(d.t / 40),
        "COMPRESSOR": (np.sin(d.t / 7) > -0.4).astype(np.float64),
        "BLOWER": 60 - 25 * d.warmth,
        "REFRIGERANT_PRESSURE": 11 + 2.5 * np.sin(d.t / 7),
    }


def _restraints(d: Drive) -> Values:
    return {
        "BELT_DRIVER": (d.t > 1).astype(np.float64),
        "BELT_PASSENGER": np.zeros_like(d.t),
        "AIRBAG_READY": (d.t > 0.4).astype(np.float64),
    }


def _low_voltage(d: Drive) -> Values:
    return {
        "SUPPLY_VOLTAGE": 14.1 - 0.0001 * d.rpm + 0.01 * d.noise,
        "SUPPLY_CURRENT": 22 + 3 * np.sin(d.t / 7) + 0.2 * d.noise2,
        "ALTERNATOR_LOAD": 48 + 6 * np.sin(d.t / 7),
    }


def _cluster_display(d: Drive) -> Values:
    return {
        "SPEED_DISPLAYED": np.floor(1.03 * d.speed),
        "RPM_DISPLAYED": d.rpm,
        "RANGE": 540 - d.distance / 1000,
        "FUEL_CONSUMPTION": np.where(d.speed > 5, np.clip(2 + d.pedal / 4, 0, 99), 0),
    }


def _fuel(d: Drive) -> Values:
    return {
        "FUEL_LEVEL": 63 - d.distance / 9000,
        "FUEL_RATE": 0.7 + np.clip(d.torque, 0, None) * d.rpm / 38_000,
    }


def _odometer(d: Drive) -> Values:
    return {"TOTAL_DISTANCE": 18_234.5 + d.distance / 1000, "TRIP_DISTANCE": d.distance / 1000}


def _date_time(d: Drive) -> Values:
    return {"UPTIME": d.t, "TIME_VALIDITY": np.where(d.t < 3, 1.0, 0.0)}


def _tyres(d: Drive) -> Values:
    pressures = {f"PRESSURE_{at}": 2.3 + bar + 0.1 * d.warmth for at, bar in _TYRES.items()}
    return {**pressures, **{f"TEMPERATURE_{at}": 19 + 14 * d.warmth for at in _TYRES}}


_TYRES = {"FL": 0.02, "FR": 0.0, "RL": -0.04, "RR": 0.02}


def _gateway_status(d: Drive) -> Values:
    return {
        "BUS_LOAD": 24 + 0.4 * d.noise,
        "GATEWAY_TEMPERATURE": 31 + 8 * d.warmth,
        "POWER_MODE": np.where(d.t < 0.9, 2.0, 3.0),
    }


SIGNALS: dict[str, Callable[[Drive], Values]] = {
    "ENGINE_SPEED": _engine_speed,
    "ENGINE_TORQUE": _engine_torque,
    "TRANSMISSION": _transmission,
    "ACCELERATOR": _accelerator,
    "BRAKE_PRESSURE": _brake_pressure,
    "STEERING_ANGLE": _steering_angle,
    "INERTIAL": _inertial,
    "WHEEL_SPEEDS": _wheel_speeds,
    "VEHICLE_SPEED": _vehicle_speed,
    "WHEEL_TICKS": _wheel_ticks,
    "STEERING_ASSIST": _steering_assist,
    "BATTERY_PACK": _battery_pack,
    "ENGINE_TEMPERATURES": _engine_temperatures,
    "BODY_LIGHTS": _body_lights,
    "BODY_DOORS": _body_doors,
    "CLIMATE_CONTROL": _climate_control,
    "RESTRAINTS": _restraints,
    "LOW_VOLTAGE": _low_voltage,
    "CLUSTER_DISPLAY": _cluster_display,
    "FUEL": _fuel,
    "ODOMETER": _odometer,
    "DATE_TIME": _date_time,
    "TYRES": _tyres,
    "GATEWAY_STATUS": _gateway_status,
}
"""Physical values by signal name, for each message; counters, checksums and pages are the encoder's."""
