#!/bin/sh
# cutover.before_open: a key that an expression makes of a number has no sequence that walign could set by itself. The
# side that is about to open goes on behind the highest number that it has. Numbers may be left out, never given
# twice: a thousand for what other sessions have drawn and not used yet.
set -eu
last() { # TABLE PREFIX
  echo "(SELECT coalesce(max(substr(id, 5)::bigint), 0) + 1000 FROM $1 WHERE starts_with(id, '$2'))"
}
of() { # TABLE
  echo "(SELECT coalesce(max(id), 0) + 1000 FROM \"$1\")"
}
if [ "$WALIGN_DIRECTION" = forward ]; then
  psql -qX -v ON_ERROR_STOP=1 "$TARGET" -c "SELECT setval('customer_numbers', $(last parties cus_)),
    setval('supplier_numbers', $(last parties sup_)), setval('order_numbers', $(last orders ord_))"
else
  psql -qX -v ON_ERROR_STOP=1 "$SOURCE" -c "SELECT setval('\"Customers_id_seq\"', $(of Customers)),
    setval('\"Suppliers_id_seq\"', $(of Suppliers)), setval('\"Orders_id_seq\"', $(of Orders))"
fi
