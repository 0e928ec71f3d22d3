module manytails.test/sink

go 1.26
