"""What every store must do, whatever keeps its records.

The tests speak to a store through `flowport.store.interface` alone. Another implementation is added to `FACTORIES`.
"""
