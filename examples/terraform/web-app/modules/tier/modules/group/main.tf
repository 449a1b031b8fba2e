# A security group with one rule for each port and source.

variable "name" {}
variable "vpc_id" {}
variable "ports" { type = map(number) }
variable "from" { type = object({ cidrs = list(string), groups = map(string) }) }
variable "outside" { type = bool }

locals {
  by_cidr  = { for pair in setproduct(keys(var.ports), var.from.cidrs) : "${pair[0]} ${pair[1]}" => { port = var.ports[pair[0]], cidr = pair[1] } }
  by_group = { for pair in setproduct(keys(var.ports), keys(var.from.groups)) : "${pair[0]} ${pair[1]}" => { port = var.ports[pair[0]], group = pair[1] } }
}

resource "aws_security_group" "this" {
  name        = var.name
  description = "What ${var.name} lets in"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "cidr" {
  for_each          = local.by_cidr
  security_group_id = aws_security_group.this.id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "group" {
  for_each                     = local.by_group
  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = var.from.groups[each.value.group]
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "all" {
  count             = var.outside ? 1 : 0
  security_group_id = aws_security_group.this.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

output "id" { value = aws_security_group.this.id }
