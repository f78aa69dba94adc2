package delivery_test

const socketsHere = true
