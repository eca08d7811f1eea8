"""Everybody who is measured, in the order of the tables."""

from bench.rivals.beanstalkd import Beanstalkd
from bench.rivals.duly import DulyHttp, DulyRedis
from bench.rivals.mariadb import MariaDB
from bench.rivals.nats import Nats
from bench.rivals.postgres import OnPostgres
from bench.rivals.redis import BullMQ, Redis


def everybody(tools):
    return [
        DulyRedis(tools), DulyHttp(tools), Redis(tools), Beanstalkd(tools), Nats(tools), BullMQ(tools),
        OnPostgres(tools, "graphile-worker"), OnPostgres(tools, "pg-boss"), MariaDB(tools),
        Redis(tools, "everysec"), Beanstalkd(tools, 50), Nats(tools, "default"),
    ]
