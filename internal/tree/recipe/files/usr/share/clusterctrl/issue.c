Cluster controller \n on \l
br0: \4{br0} \6{br0}

