"""An experiment file and its runs: what is wrong with it, which runs it has, how long they take, and doing them."""
